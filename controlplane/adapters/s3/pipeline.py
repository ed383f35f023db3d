"""The answers to requests that were sent one behind the other (HTTP/1.1 pipelining, RFC 9112, 9.3.2)."""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple

MAX_HEAD_BYTES: Final = 64 * 1024
_BODILESS: Final = frozenset({204, 304})


class NotInStep(ValueError):
    """Bytes that cannot be the next answer: nothing on this connection can be relied on any more."""


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    """Lower-case names."""
    body: bytes


@lru_cache(maxsize=512)
def _lower(name: str) -> str:
    return name.strip().lower()


class Replies:
    """Takes bytes as they come and makes replies of them, `expected` of them, in the order of the requests.

    Strict on purpose: only answers whose end is beyond doubt are taken, those with one plain Content-Length (and those
    that have no body by definition). Everything else raises NotInStep, and what was asked is asked again one by one.
    """

    __slots__ = ("_expected", "_head_only", "_limit", "_rest", "got", "last")

    def __init__(self, expected: int, *, head_only: bool, body_limit: int) -> None:
        self._expected = expected
        self._head_only = head_only
        self._limit = body_limit
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
        while not self.complete and not self.last:
            end = data.find(b"\r\n\r\n", at)
            if end < 0:
                if len(data) - at > MAX_HEAD_BYTES:
                    raise NotInStep(f"the head of an answer is larger than {MAX_HEAD_BYTES} bytes")
                break
            status, headers = _head(data[at:end].decode("utf-8", "replace"))
            size = self._body_bytes(status, headers)
            body_at = end + 4
            if len(data) - body_at < size:
                break
            at = body_at + size
            if status >= 200:
                self.last = headers.get("connection", "").lower() == "close"
                self.got.append(Reply(status, headers, data[body_at:at]))
        self._rest = data[at:]
        if self._rest and self.complete:
            raise NotInStep("more bytes than the answers asked for")

    def _body_bytes(self, status: int, headers: dict[str, str]) -> int:
        if self._head_only or status < 200 or status in _BODILESS:
            return 0
        length = headers.get("content-length", "")
        if "transfer-encoding" in headers or not (length.isascii() and length.isdigit()):
            raise NotInStep("an answer without a plain length")
        if int(length) > self._limit:
            raise NotInStep(f"an answer of {length} bytes, at most {self._limit} were expected")
        return int(length)


def _head(text: str) -> tuple[int, dict[str, str]]:
    line, *lines = text.split("\r\n")
    status = line[9:12]
    if not line.startswith("HTTP/1.1 ") or not (status.isascii() and status.isdigit()) or line[12:13] not in ("", " "):
        raise NotInStep(f"no status line of HTTP/1.1: {line[:80]!r}")
    headers: dict[str, str] = {}
    for each in lines:
        try:
            raw, value = each.split(":", 1)
        except ValueError:
            raise NotInStep(f"no header: {each[:80]!r}") from None
        headers[_lower(raw)] = value.strip()
    if "" in headers:
        raise NotInStep("a header without a name")
    if len(headers) < len(lines) and sum(_lower(each.partition(":")[0]) == "content-length" for each in lines) > 1:
        raise NotInStep("two lengths")
    return int(status), headers
