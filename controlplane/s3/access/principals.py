"""Who asks, and whom an ACL can name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

ALL_USERS: Final = "http://acs.amazonaws.com/groups/global/AllUsers"
AUTHENTICATED_USERS: Final = "http://acs.amazonaws.com/groups/global/AuthenticatedUsers"
LOG_DELIVERY: Final = "http://acs.amazonaws.com/groups/s3/LogDelivery"
GROUPS: Final = frozenset({ALL_USERS, AUTHENTICATED_USERS, LOG_DELIVERY})


@dataclass(frozen=True, slots=True)
class User:
    """A user as ACLs and owners name it."""

    id: str
    """The canonical id: 64 hex digits."""
    display_name: str = ""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request, once its signature was verified. Without an id: nobody, an anonymous request."""

    id: str | None
    """The canonical id."""
    display_name: str = ""
    arn: str = ""
    """As Riak CS's admin API gives it: arn:aws:iam::<account>:user/<name>."""
    name: str = ""

    @property
    def anonymous(self) -> bool:
        return self.id is None

    @property
    def account(self) -> str:
        """The account number in the ARN; Riak CS gives each user its own."""
        parts = self.arn.split(":")
        return parts[4] if len(parts) > 5 else ""


ANONYMOUS: Final = Caller(None)


@dataclass(frozen=True, slots=True)
class Group:
    """One of the predefined groups, by its URI."""

    uri: str


@dataclass(frozen=True, slots=True)
class Email:
    """A grantee by e-mail address: only in requests. It has to be made a User (`acl.resolved`) before anything is
    decided or stored; an unresolved one matches nobody."""

    address: str


Grantee: TypeAlias = User | Group | Email


def names(grantee: Grantee, caller: Caller) -> bool:
    """Whether the grantee is, or contains, the caller. Nobody is in LogDelivery: no service writes logs here."""
    match grantee:
        case User(id=canonical):
            return caller.id is not None and canonical == caller.id
        case Group(uri=uri):
            return uri == ALL_USERS or (uri == AUTHENTICATED_USERS and not caller.anonymous)
        case Email():
            return False
