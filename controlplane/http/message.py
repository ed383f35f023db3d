"""Requests and responses as a handler sees them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from controlplane.http.body import RequestBody
from controlplane.http.head import HeaderBlock


class Request:
    """One request. `path` and `query` are as sent: not percent-decoded. `id` and `context` are the handler's."""

    __slots__ = (
        "_block",
        "body",
        "context",
        "id",
        "method",
        "path",
        "peer",
        "query",
        "target",
    )

    def __init__(self, method: str, target: bytes, block: HeaderBlock, peer: str, body: RequestBody) -> None:
        self.method = method
        self.target = target
        path, _, query = target.decode("ascii").partition("?")
        self.path = path
        self.query = query
        self.peer = peer
        self.body = body
        self.id = ""
        self.context: Any = None
        self._block = block

    @property
    def has_body(self) -> bool:
        return self._block.has_body

    @property
    def content_length(self) -> int | None:
        """None without the field: chunked, or no body."""
        return self._block.content_length

    @property
    def note(self) -> Any:
        """What the handler concluded from the header fields alone, None before it did. Requests of one connection that
        repeat their fields byte by byte find it again."""
        return self._block.note

    @note.setter
    def note(self, note: Any) -> None:
        self._block.note = note

    def header(self, name: bytes) -> bytes | None:
        """The first value of this (lower-case) name."""
        return self._block.first.get(name)

    def has_any(self, names: frozenset[bytes]) -> bool:
        """Whether there is a field of one of these (lower-case) names."""
        return not names.isdisjoint(self._block.first)

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """All fields in their order, names lower-cased. The list is the caller's own."""
        return list(self._block.fields)

    @property
    def fields(self) -> tuple[tuple[bytes, bytes], ...]:
        """The same, shared by all who ask."""
        return self._block.fields

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.path} from {self.peer}>"


@dataclass(slots=True)
class FileBody:
    """`length` bytes of an open file from `offset`. The engine calls `release` exactly once, when done with `fd`."""

    fd: int
    offset: int
    length: int
    release: Callable[[], None]


@dataclass(slots=True)
class StreamBody:
    """Chunks as they come. `length` None: chunked encoding.

    An iterator that raises, or yields other than `length` bytes, breaks the connection: the client must not
    take a part for the whole. The engine closes the iterator (aclose) exactly once in every case.
    """

    chunks: AsyncIterator[bytes]
    length: int | None = None


class Response:
    """An answer. The engine makes Content-Length, Date, Connection and Transfer-Encoding: a handler must not set them.
    `headers` are fields, or (bytes) the lines that field_lines() made of them.

    The answer to HEAD takes its Content-Length from the body it would have (which is not sent), or from
    `head_length`. The engine owns the body from the moment the handler returns.
    """

    __slots__ = ("body", "close", "head_length", "headers", "status")

    def __init__(
        self,
        status: int,
        headers: list[tuple[bytes, bytes]] | tuple[tuple[bytes, bytes], ...] | bytes = (),
        body: bytes | FileBody | StreamBody | None = None,
        *,
        head_length: int | None = None,
        close: bool = False,
    ) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.head_length = head_length
        self.close = close


Handler = Callable[[Request], Response | Awaitable[Response]]
Refuse = Callable[[int, str], Response]
OnFault = Callable[[Request, BaseException], Response]
Observe = Callable[[Request, int, int, float], None]
