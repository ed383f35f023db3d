"""The blob API's client: failover, bounded retries, and both digests of every byte that passes."""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol, TypeVar

from controlplane.cli.blob_transport import BLOCK, Answer, Broken, Connection, read_json
from controlplane.cli.digests import Digester
from controlplane.cli.problems import failure_of, told_by
from controlplane.model.content import (
    Content,
    Guid,
    MalformedDigest,
    Sha256,
    parse_guid,
    parse_sha256,
)
from controlplane.ports.errors import Corrupt, Unavailable

_LEAST_PAUSE_S = 0.1
T = TypeVar("T")
Moved = Callable[[int], None]
"""Told of bytes as they pass; a negative number takes back what must pass again."""


class Source(Protocol):
    """A body to put."""

    @property
    def name(self) -> str: ...

    @property
    def size(self) -> int | None:
        """Bytes, when they are known before."""
        ...

    def rewind(self) -> bool:
        """Go back to the beginning; False when the bytes are gone."""
        ...

    def blocks(self) -> Iterator[bytes]: ...


class Sink(Protocol):
    """Where a fetched body goes."""

    def write(self, block: bytes) -> None: ...


@dataclass(frozen=True, slots=True)
class Stored:
    content: Content
    created: bool
    """False: the blob was there already."""


@dataclass(frozen=True, slots=True)
class Described:
    content: Content
    content_type: str


class BlobClient:
    """Talks to the first of `urls` that answers. Close it."""

    def __init__(
        self,
        urls: Sequence[str],
        connect: Callable[[str], Connection],
        *,
        token: str | None = None,
        wait_s: float = 0.0,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._urls = list(urls)
        self._connect = connect
        self._connections: dict[str, Connection] = {}
        self._headers = {"user-agent": "millrace-cli"}
        if token is not None:
            self._headers["authorization"] = f"Bearer {token}"
        self._wait_s = wait_s
        self._monotonic = monotonic
        self._sleep = sleep

    def close(self) -> None:
        for connection in self._connections.values():
            connection.close()

    def put(self, source: Source, *, content_type: str, guid: Guid | None = None, moved: Moved) -> Stored:
        """Store a body under the MD5 that it has, which must be `guid` when that is given.

        Raises Corrupt when the server stored something else than was sent."""
        method, path = ("POST", "/blobs") if guid is None else ("PUT", f"/blobs/{guid}")
        headers = {**self._headers, "content-type": content_type}
        begun = False

        def attempt(connection: Connection) -> Stored:
            nonlocal begun
            passed = 0
            with Digester() as digester:

                def blocks() -> Iterator[bytes]:
                    nonlocal begun, passed
                    for block in source.blocks():
                        begun = True
                        digester.update(block)
                        yield block
                        passed += len(block)
                        moved(len(block))

                try:
                    answer = connection.exchange(method, path, headers, blocks(), source.size)
                    if answer.status not in (200, 201):
                        raise failure_of(answer, connection.url)
                    if not answer.whole_body_sent:
                        connection.close()
                        raise Unavailable(f"{told_by(answer, connection.url)} before it had the whole body")
                    stored = _stored(answer, connection.url)
                except BaseException:
                    moved(-passed)
                    raise
                _require_equal(stored.content, digester.content(), answer, connection.url)
                return stored

        return self._anywhere(attempt, lambda: not begun or source.rewind())

    def get(
        self,
        sink: Sink,
        *,
        guid: Guid | None = None,
        sha256: Sha256 | None = None,
        moved: Moved,
        expect: Callable[[int], None],
    ) -> Content:
        """Write the blob with that GUID or SHA-256 to `sink`, whose bytes are proved only when this returns.

        Broken off, it is taken up where it stopped. Raises Corrupt when a digest does not match."""
        received = 0
        expected: Described | None = None
        with Digester() as digester:

            def attempt(connection: Connection) -> Content:
                nonlocal received, expected
                headers = dict(self._headers)
                if expected is not None:
                    headers["range"] = f"bytes={received}-"
                    headers["if-range"] = f'"{expected.content.md5}"'
                answer = connection.exchange("GET", _path(guid, sha256), headers, None, None)
                if answer.status != (200 if expected is None else 206):
                    if answer.status in (200, 206):
                        raise Corrupt(f"{told_by(answer, connection.url)}, and did not go on where the body broke off")
                    raise failure_of(answer, connection.url)
                if expected is None:
                    expected = _described(answer, connection.url, guid, sha256)
                    expect(expected.content.size)
                elif not (answer.header("content-range") or "").startswith(f"bytes {received}-"):
                    raise Corrupt(f"{told_by(answer, connection.url)} with another part of the body than was asked for")
                while block := answer.read(BLOCK):
                    digester.update(block)
                    sink.write(block)
                    received += len(block)
                    moved(len(block))
                    if received > expected.content.size:
                        break
                if received < expected.content.size:
                    raise Broken(f"{connection.url}: the blob ended after {received} of {expected.content.size} bytes")
                _require_equal(expected.content, digester.content(), answer, connection.url)
                return expected.content

            # A body that is not empty is asked for once more only when some of it is still missing.
            return self._anywhere(attempt, lambda: expected is None or received < expected.content.size)

    def stat(self, *, guid: Guid | None = None, sha256: Sha256 | None = None) -> Described:
        """What the server says of a blob."""

        def attempt(connection: Connection) -> Described:
            answer = connection.exchange("HEAD", _path(guid, sha256), self._headers, None, None)
            if answer.status != 200:
                raise failure_of(answer, connection.url)
            return _described(answer, connection.url, guid, sha256)

        return self._anywhere(attempt, lambda: True)

    def delete(self, guid: Guid) -> None:
        """Remove a blob from every store. Raises NotFound when the server says so."""

        def attempt(connection: Connection) -> None:
            answer = connection.exchange("DELETE", _path(guid, None), self._headers, None, None)
            if answer.status != 204:
                raise failure_of(answer, connection.url)
            answer.read(1)

        self._anywhere(attempt, lambda: True)

    def _anywhere(self, attempt: Callable[[Connection], T], repeatable: Callable[[], bool]) -> T:
        """`attempt` at one gateway after the other, and again from the first within the time to wait.

        Every operation names its blob by content, so that doing it twice is doing it once; only a body that cannot be
        sent again ends the attempts."""
        deadline = self._monotonic() + self._wait_s
        while True:
            pause = float("inf")
            for url in list(self._urls):
                try:
                    result = self._at(url, attempt, repeatable)
                except Unavailable as error:
                    failure = error
                    pause = min(pause, error.retry_after)
                    if not repeatable():
                        raise
                else:
                    # Whoever answered is asked first next time.
                    self._urls.remove(url)
                    self._urls.insert(0, url)
                    return result
            left = deadline - self._monotonic()
            if left <= 0:
                raise failure
            self._sleep(min(max(pause, _LEAST_PAUSE_S), left))

    def _at(self, url: str, attempt: Callable[[Connection], T], repeatable: Callable[[], bool]) -> T:
        connection = self._connections.get(url)
        if connection is None:
            connection = self._connections[url] = self._connect(url)
        was_used = connection.used
        try:
            return attempt(connection)
        except Broken:
            connection.close()
            # An idle connection may be closed by the server at the moment when it is used again.
            if not was_used or not repeatable():
                raise
            return attempt(connection)


def _path(guid: Guid | None, sha256: Sha256 | None) -> str:
    return f"/blobs/{guid}" if guid is not None else f"/blobs/sha256/{sha256}"


def _stored(answer: Answer, url: str) -> Stored:
    body = read_json(answer)
    match body:
        case {"guid": str(guid), "sha256": str(sha256), "size": int(size)}:
            with suppress(MalformedDigest):
                return Stored(Content(parse_guid(guid), parse_sha256(sha256), size), answer.status == 201)
    raise Unavailable(f"{told_by(answer, url)} without saying what it stored: is it a Millrace gateway?")


def _described(answer: Answer, url: str, guid: Guid | None, sha256: Sha256 | None) -> Described:
    """What the headers say of the blob. Raises Corrupt when they name another blob, Unavailable when they name none."""
    etag = (answer.header("etag") or "").strip('"')
    length = answer.header("content-length") or ""
    try:
        content = Content(parse_guid(etag), _sha256_of(answer), int(length))
    except (MalformedDigest, ValueError) as error:
        what = "without ETag, SHA-256 and length, so that the blob cannot be verified: is it a Millrace gateway?"
        raise Unavailable(f"{told_by(answer, url)} {what}") from error
    if (guid is not None and content.md5 != guid) or (sha256 is not None and content.sha256 != sha256):
        raise Corrupt(f"{told_by(answer, url)} with another blob: {content.md5}, SHA-256 {content.sha256}")
    return Described(content, answer.header("content-type") or "application/octet-stream")


def _sha256_of(answer: Answer) -> Sha256:
    """From Millrace-SHA256, or from Repr-Digest (RFC 9530) where a proxy passes only known headers."""
    given = answer.header("millrace-sha256")
    if given is not None:
        return parse_sha256(given)
    label, _, value = (answer.header("repr-digest") or "").partition("=")
    if label != "sha-256":
        raise MalformedDigest("no SHA-256")
    try:
        return parse_sha256(base64.b64decode(value.strip(":"), validate=True).hex())
    except binascii.Error as error:
        raise MalformedDigest(f"not base64: {value[:80]!r}") from error


def _require_equal(theirs: Content, ours: Content, answer: Answer, url: str) -> None:
    if theirs == ours:
        return
    for what, said, computed in (
        ("size", theirs.size, ours.size),
        ("MD5", theirs.md5, ours.md5),
        ("SHA-256", theirs.sha256, ours.sha256),
    ):
        if said != computed:
            raise Corrupt(f"{told_by(answer, url)}: {what} should be {said}, but what passed has {computed}")
