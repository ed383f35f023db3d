"""Accounts: the users of Riak CS, as the S3 gateway needs them to know who asks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from controlplane.ports.upstream import KeyPair


@dataclass(frozen=True, slots=True)
class Account:
    """One user."""

    keys: KeyPair
    id: str
    """Canonical ID: 64 hex digits."""
    display_name: str
    enabled: bool
    email: str = ""
    arn: str = ""
    name: str = ""
    buckets: frozenset[str] = frozenset()
    """Names of the buckets that it owns, as of when it was read."""


class Accounts(Protocol):
    async def by_key(self, access_key: str) -> Account:
        """Raises NotFound only when Riak CS said that there is no such key, which it also says of a user that it cannot
        read for the moment; Unavailable; Rejected (our own admin key is refused)."""
        ...

    async def all(self) -> Sequence[Account]:
        """Raises Unavailable, Rejected."""
        ...

    async def aclose(self) -> None: ...


class AccountAdmin(Protocol):
    """What an operator does to accounts. Each call returns the account as it is now, with its secret."""

    async def create(self, name: str, email: str) -> Account:
        """Raises Conflict (name or address taken), Rejected (address not valid), Unavailable: it may have been
        created."""
        ...

    async def set_enabled(self, access_key: str, enabled: bool) -> Account:
        """Doing it twice does no harm. Raises NotFound, Rejected, Unavailable."""
        ...

    async def rotate(self, access_key: str) -> Account:
        """A new secret; the former one is refused from now on. Raises NotFound, Rejected, Unavailable: the secret may
        have been changed."""
        ...

    async def aclose(self) -> None: ...
