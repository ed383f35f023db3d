"""Upstream: the Riak CS nodes as the S3 gateway uses them, one request at a time, signed with its caller's own key.

The port is cut at the level of S3 requests: the gateway decides what is safe to ask; the adapter refuses what it knows
to be unsafe (a subresource that Riak CS would take for a plain operation), signs, chooses a node, and tries again where
that is safe.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

from controlplane.ports.errors import Unavailable

Query: TypeAlias = tuple[tuple[str, str], ...]
"""Decoded names and values; an empty value is a bare name on the wire."""


@dataclass(frozen=True, slots=True)
class KeyPair:
    access_key: str
    secret_key: str = field(repr=False)


class Renewal(Protocol):
    """Where a key pair comes from that is replaced while the process runs."""

    @property
    def current(self) -> KeyPair:
        """What to sign with now."""
        ...

    def renewed(self, refused: KeyPair) -> bool:
        """After a request signed with `refused` was refused (401, 403): look at the source again, at most once a
        second. Whether `current` is another pair than that one. Raises nothing."""
        ...


@dataclass(frozen=True, slots=True)
class RenewableKeyPair(KeyPair):
    """Millrace's own key, the admin's. The adapter signs with `renewal.current`, not with `secret_key`, which is of the
    start. A type of its own, for keys of callers never follow: who signed with the admin's former secret must not be
    served with its present one."""

    renewal: Renewal = field(repr=False, compare=False)


REFUSED = frozenset({401, 403})
"""Answers that may mean a secret that is not the right one (any more)."""


@dataclass(slots=True)
class Ask:
    """One request to Riak CS."""

    method: str
    signer: KeyPair | None
    """None: anonymous."""
    bucket: str = ""
    """Empty: the service."""
    key: str = ""
    """Decoded; empty: the bucket."""
    query: Query = ()
    headers: dict[str, str] = field(default_factory=dict)
    """Lower-case names; not those that the adapter makes: host, date, authorization, content-length."""
    body: bytes | AsyncIterable[bytes | memoryview] = b""
    """Of a stream each byte is taken at most once. What it raises reaches the caller unchanged, after the request was
    broken off: Riak CS keeps nothing of a body that did not become whole."""
    length: int = 0
    """Bytes of the body."""
    repeatable: bool = True
    """Doing it twice does no harm. A stream is repeated while its bytes are still there."""


async def read_whole(reply: Reply, limit: int, what: str) -> bytes:
    """The rest of an answer's body. Closes it and raises Unavailable when it has more than `limit` bytes."""
    parts: list[bytes] = []
    size = 0
    while chunk := await reply.read():
        parts.append(chunk)
        size += len(chunk)
        if size > limit:
            reply.close()
            raise Unavailable(f"{what}: the answer is larger than {limit} bytes")
    return b"".join(parts)


class Reply(Protocol):
    """The answer, of any status; close() it always."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]:
        """Lower-case names."""
        ...

    async def read(self) -> bytes:
        """Some bytes of the body, b"" at its end. Raises Unavailable when it breaks off."""
        ...

    async def read_all(self, limit: int) -> bytes:
        """Raises Unavailable when there are more bytes."""
        ...

    def close(self) -> None:
        """Idempotent. A body that is still on its way costs the connection."""
        ...


class Upstream(Protocol):
    def send(self, ask: Ask) -> Coroutine[Any, Any, Reply]:
        """Raises Unavailable when no node gave a whole answer."""
        ...

    async def check(self) -> None:
        """Prove that a node answers. Raises Unavailable."""
        ...

    async def aclose(self) -> None: ...
