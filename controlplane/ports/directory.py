"""Directory: who serves (endpoints under leases), and small values changed by compare-and-swap (etcd or in-process)."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol

from controlplane.model.endpoints import Endpoint, EndpointSet
from controlplane.ports.errors import Rejected

ENDPOINTS = "endpoints"
"""First part of the names that announce() writes; get() and compare_and_swap() refuse it."""

MOST_NAME_BYTES = 1024

_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")


def require_part(part: str, what: str) -> str:
    """Return `part` if it can be one part of a name (a service, a node, a cluster); raise Rejected otherwise."""
    if not _PART.match(part):
        raise Rejected(f"{what} must be letters, digits, dots, underscores and dashes, not {part[:80]!r}: rename it")
    return part


def require_name(name: str) -> str:
    """Return `name` if compare_and_swap() may write it: printable parts between slashes; raise Rejected otherwise."""
    parts = name.split("/")
    if not all(parts) or not name.isprintable() or len(name.encode(errors="replace")) > MOST_NAME_BYTES:
        raise Rejected(
            f"a name in the directory is printable parts between slashes, at most {MOST_NAME_BYTES} bytes,"
            f" not {name[:80]!r}"
        )
    if parts[0] == ENDPOINTS:
        raise Rejected(f"{name[:80]!r} belongs to the endpoints: use announce and withdraw")
    return name


@dataclass(frozen=True, slots=True)
class Versioned:
    """A value with the revision at which it was last changed."""

    value: str
    revision: int


class Announcer(Protocol):
    """Where an endpoint is published: a Directory, or a copy of it for consumers of another kind (etcd v2)."""

    async def announce(self, endpoint: Endpoint, ttl_s: float) -> None:
        """Make the endpoint visible for ttl_s seconds from now; call again within that time to keep it.

        The first call (or the first after the lease was lost) creates a lease and writes; the following ones keep
        the lease alive and write only what changed or vanished. Raises Unavailable, Rejected (auth).
        """
        ...

    async def withdraw(self, endpoint: Endpoint) -> None:
        """Remove the endpoint at once (revokes its lease). Withdrawing what is not there succeeds."""
        ...

    async def aclose(self) -> None: ...


class Directory(Announcer, Protocol):
    async def endpoints(self, service: str) -> EndpointSet:
        """Raises Unavailable: an unreachable directory is never an empty set."""
        ...

    def watch(self, service: str) -> AsyncGenerator[EndpointSet, None]:
        """The set now, and again after each change, for ever.

        Lost connections, stopped nodes and compacted revisions are resumed inside: every change that lasts is
        eventually seen, and a set never has a smaller revision than the one before. Close with aclose().
        Raises Unavailable only when that cannot be kept: the directory was closed, or its revisions went back
        (etcd restored from a backup); Rejected when the credentials are refused. Watch anew then.
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
