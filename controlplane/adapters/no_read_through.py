"""For a gateway without a mirror rule that reads through."""

from __future__ import annotations

from controlplane.ports.upstream import Ask, KeyPair, Reply


class NoReadThrough:
    """Implements ports.read_through.ReadThrough."""

    def covers(self, bucket: str, key: str) -> bool:  # noqa: ARG002 - the port's
        return False

    async def send(self, ask: Ask, owner: KeyPair | None) -> Reply | None:  # noqa: ARG002 - the port's
        return None
