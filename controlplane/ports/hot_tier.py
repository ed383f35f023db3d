"""HotTier: bytes by name in a memory that the nodes share. Losing any of them at any time loses nothing."""

from __future__ import annotations

from typing import Protocol


class HotTier(Protocol):
    """Names are of printable ASCII without spaces. All calls raise Unavailable when the tier does not answer in
    time, whatever it is; nothing else."""

    async def get(self, name: str) -> bytes | None: ...

    async def put(self, name: str, value: bytes) -> None:
        """Keep it, for a while; a value that is too large for the tier may be dropped."""
        ...

    async def forget(self, name: str) -> None:
        """When this returns, get() answers None until somebody puts it again. Unknown names are ignored."""
        ...

    async def aclose(self) -> None: ...
