"""An object's ACL in a line, as a mirror notes it beside the copy."""

from __future__ import annotations

from hashlib import sha256
from typing import Final

from controlplane.s3.access.acl import Acl, canned
from controlplane.s3.access.principals import Email, Grantee, Group, User

PRIVATE: Final = "private"
CARRIED: Final = frozenset({"public-read", "public-read-write", "authenticated-read"})
"""Canned ACLs that mean the same wherever the copy is. `private` is what a copy has anyway; of the others a part are
the owner's, who is somebody else at the target."""
_GRANTS: Final = "grants:"
_LEFT: Final = "left:"
MOST_BYTES: Final = 512
"""Of a note: user metadata has 2 KiB in all."""


def note_of(acl: Acl) -> str:
    """The name of a canned ACL that says the same; else its grants, in order; else, where those are long, a digest of
    them. Printable ASCII."""
    said = set(acl.grants)
    for name in (PRIVATE, *sorted(CARRIED)):
        if said == set(canned(name, acl.owner).grants):
            return name
    grants = ",".join(sorted(f"{grant.permission.value}={_named(grant.grantee)}" for grant in acl.grants))
    text = f"{_GRANTS}{grants}".encode("ascii", "backslashreplace").decode()
    return text if len(text) <= MOST_BYTES else f"{_LEFT}{sha256(text.encode()).hexdigest()[:32]}"


def _named(grantee: Grantee) -> str:
    match grantee:
        case User(id=canonical):
            return canonical
        case Group(uri=uri):
            return uri.rsplit("/", 1)[-1]
        case Email(address=address):
            return address
