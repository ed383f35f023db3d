"""Who may do what: bearer tokens with scopes."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum


class Right(Enum):
    READ = "read"
    WRITE = "write"
    DELETE = "delete"
    PROBE = "probe"
    """The node's own health probe, and nothing else."""
    PEER = "peer"
    """Another gateway of the cluster: what is being fetched here, and nothing else."""


@dataclass(frozen=True, slots=True)
class Grant:
    """A token, known only by its SHA-256, and what it allows."""

    name: str
    digest: bytes
    rights: frozenset[Right]

    @classmethod
    def of(cls, name: str, secret: str, rights: frozenset[Right]) -> Grant:
        return cls(name, hashlib.sha256(secret.encode()).digest(), rights)


class Verdict(Enum):
    ALLOWED = "allowed"
    UNKNOWN = "unknown"
    """No token, or one that nobody was given: 401."""
    FORBIDDEN = "forbidden"
    """A known token without the right: 403."""


class Authorizer:
    """Compares in constant time: every token is compared with every grant, whole digests each time."""

    def __init__(self, grants: Sequence[Grant], *, anonymous_read: bool) -> None:
        self._grants = tuple(grants)
        self._anonymous_read = anonymous_read

    def judge(self, authorization: bytes | None, right: Right) -> Verdict:
        if right is Right.READ and self._anonymous_read:
            return Verdict.ALLOWED
        if authorization is None or authorization[:7].lower() != b"bearer ":
            return Verdict.UNKNOWN
        digest = hashlib.sha256(authorization[7:].strip()).digest()
        found: Grant | None = None
        for grant in self._grants:
            if hmac.compare_digest(grant.digest, digest):
                found = grant
        if found is None:
            return Verdict.UNKNOWN
        return Verdict.ALLOWED if right in found.rights else Verdict.FORBIDDEN
