"""Directory: who serves (endpoints under leases), and small values changed by compare-and-swap (etcd or in-process)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from controlplane.model.endpoints import Endpoint, EndpointSet


@dataclass(frozen=True, slots=True)
class Versioned:
    """A value with the revision at which it was last changed."""

    value: str
    revision: int


class Directory(Protocol):
    async def announce(self, endpoint: Endpoint, ttl_s: float) -> None:
        """Make the endpoint visible for ttl_s seconds from now; call again within that time to keep it.

        The first call (or the first after the lease was lost) creates a lease and writes; the following ones keep
        the lease alive and write only what changed or vanished. Raises Unavailable, Rejected (auth).
        """
        ...

    async def withdraw(self, endpoint: Endpoint) -> None:
        """Remove the endpoint at once (revokes its lease). Withdrawing what is not there succeeds."""
        ...

    async def endpoints(self, service: str) -> EndpointSet:
        """Raises Unavailable: an unreachable directory is never an empty set."""
        ...

    def watch(self, service: str) -> AsyncIterator[EndpointSet]:
        """The set now, and again after each change, for ever.

        Lost connections, stopped nodes and compacted revisions are resumed inside: every change that lasts is
        eventually seen, and a set never has a smaller revision than the one before. Close with aclose().
        """
        ...

    async def get(self, name: str) -> Versioned | None: ...

    async def compare_and_swap(
        self, name: str, expected_revision: int | None, value: str | None, ttl_s: float | None = None
    ) -> int | None:
        """Set `name` to value (None deletes it) if its revision is expected_revision (None: if it does not exist).

        Returns the new revision, or None when the comparison failed. With ttl_s the value lives under a lease of
        its own. Raises Unavailable (the outcome may be unknown).
        """
        ...

    async def check(self) -> str:
        """Prove that the directory answers; return a line for people, such as "3 of 3 members healthy"."""
        ...

    async def aclose(self) -> None: ...
