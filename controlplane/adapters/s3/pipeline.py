"""The answers to requests that were sent one behind the other (HTTP/1.1 pipelining, RFC 9112, 9.3.2)."""

from __future__ import annotations

from typing import Final, NamedTuple

from controlplane.adapters.s3.head_shapes import HeadShapes, NotInStep, SeenHeads

MAX_HEAD_BYTES: Final = 64 * 1024
_BODILESS: Final = frozenset({204, 304})


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    """Lower-case names."""
    body: bytes


class Replies:
    """Takes bytes as they come and makes replies of them, `expected` of them, in the order of the requests.

    Strict on purpose: only answers whose end is beyond doubt are taken, those with one plain Content-Length (and those
    that have no body by definition). Everything else raises NotInStep, and what was asked is asked again one by one.
    """

    __slots__ = ("_expected", "_head_only", "_keeps", "_limit", "_rest", "_seen", "_shapes", "got", "last")

    def __init__(
        self,
        expected: int,
        shapes: HeadShapes,
        *,
        head_only: bool,
        body_limit: int,
        seen: SeenHeads | None = None,
        keeps: bool = False,
    ) -> None:
        """`shapes`: of earlier answers to such requests. `seen`: heads that were read before, to which those of these
        answers are added (`keeps`), or which they may repeat."""
        self._expected = expected
        self._shapes = shapes
        self._head_only = head_only
        self._limit = body_limit
        self._seen = seen
        self._keeps = keeps
        self._rest = b""
        self.got: list[Reply] = []
        self.last = False
        """The server said that it will close the connection: no further answer will come."""

    @property
    def complete(self) -> bool:
        return len(self.got) == self._expected

    def feed(self, data: bytes) -> None:
        """Raises NotInStep."""
        data = self._rest + data if self._rest else data
        at = 0
        read, got, missing = self._shapes.read, self.got, self._expected - len(self.got)
        keep = self._seen.keep if self._seen is not None and self._keeps else None
        seen = None if self._keeps else self._seen
        while missing and not self.last:
            end = data.find(b"\r\n\r\n", at)
            if end < 0:
                if len(data) - at > MAX_HEAD_BYTES:
                    raise NotInStep(f"the head of an answer is larger than {MAX_HEAD_BYTES} bytes")
                break
            head = data[at:end]
            known = None if seen is None else seen.take(head)
            status, headers = known or read(head.decode("utf-8", "replace"))
            size = 0 if self._head_only else self._body_bytes(status, headers)
            body_at = end + 4
            if len(data) - body_at < size:
                break
            at = body_at + size
            if status >= 200:
                if keep is not None:
                    keep(head, status, headers)
                self.last = "connection" in headers and headers["connection"].lower() == "close"
                got.append(Reply(status, headers, data[body_at:at]))
                missing -= 1
        self._rest = data[at:]
        if self._rest and self.complete:
            raise NotInStep("more bytes than the answers asked for")

    def _body_bytes(self, status: int, headers: dict[str, str]) -> int:
        if status < 200 or status in _BODILESS:
            return 0
        length = headers.get("content-length", "")
        if "transfer-encoding" in headers or not (length.isascii() and length.isdigit()):
            raise NotInStep("an answer without a plain length")
        size = int(length)
        if size > self._limit:
            raise NotInStep(f"an answer of {length} bytes, at most {self._limit} were expected")
        return size
