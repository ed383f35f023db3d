"""A node of Riak CS that dies on one request of a client of the gateway: the client notices nothing."""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import socket
import threading
from collections.abc import Iterator
from enum import Enum, auto
from pathlib import Path
from typing import Final, Self
from urllib.parse import urlsplit

import pytest

from tests.integration.s3_gateway.wire import Answer, Wire
from tests.support import s3_gateway
from tests.support.riak_cs import RiakCs, User

MIB: Final = 1 << 20


class Death(Enum):
    MID_BODY = auto()
    BEFORE_DONE = auto()
    """It has the whole request, and has done nothing."""
    AFTER_DONE = auto()
    """It has done what was asked, and does not say so."""
    HANGS = auto()


class Mortal:
    """Passes requests on to Riak CS, one a connection, but dies on the first that fits `victim`; then it is up."""

    def __init__(self, upstream: str) -> None:
        self._upstream = urlsplit(upstream)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.victim = b""
        self.death = Death.MID_BODY
        self.deaths = 0
        self._lock = threading.Lock()
        self._up = threading.Event()
        self._threads = [threading.Thread(target=self._accept)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._up.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(10)

    def die_on(self, victim: str, death: Death) -> None:
        with self._lock:
            self.victim, self.death, self.deaths = victim.encode(), death, 0

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                connection.settimeout(60)
                thread = threading.Thread(target=self._serve, args=(connection,))
                self._threads.append(thread)
                thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            received = b""
            while b"\r\n\r\n" not in received:
                data = connection.recv(65536)
                if not data:
                    return
                received += data
            head, _, body = received.partition(b"\r\n\r\n")
            lines = [line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
            length = int(lines[0].split(b":")[1]) if lines else 0
            death = self._fate(head)
            wanted = length // 3 if death in (Death.MID_BODY, Death.HANGS) else length
            while len(body) < wanted:
                data = connection.recv(1 << 18)
                if not data:
                    return  # the gateway has broken it off
                body += data
            match death:
                case Death.MID_BODY | Death.BEFORE_DONE:
                    return
                case Death.HANGS:
                    self._up.wait(60)
                    return
            answer = self._asked(head, body)
            if death is None:
                connection.sendall(answer.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))

    def _fate(self, head: bytes) -> Death | None:
        with self._lock:
            if self.victim and head.startswith(self.victim):
                self.victim = b""
                self.deaths += 1
                return self.death
        return None

    def _asked(self, head: bytes, body: bytes) -> bytes:
        upstream = (self._upstream.hostname or "", self._upstream.port or 80)
        with socket.create_connection(upstream, 30) as riak_cs:
            riak_cs.sendall(head + b"\r\nConnection: close\r\n\r\n" + body)
            answer = b""
            while got := riak_cs.recv(1 << 18):
                answer += got
        return answer


@pytest.fixture(scope="module")
def mortal(riak_cs: RiakCs) -> Iterator[Mortal]:
    with Mortal(riak_cs.url) as node:
        yield node


@pytest.fixture(scope="module")
def gateways(mortal: Mortal, riak_cs: RiakCs, s3_folder: Path, alice: User) -> Iterator[dict[str, Wire]]:
    """Those whose only node of Riak CS it is: one soon gives up who says nothing, the other trusts a busy machine."""
    with contextlib.ExitStack() as stack:
        made = {}
        for name, most_s in (("hasty", 4.0), ("patient", 30.0)):
            settings = {"endpoints": [mortal.url], "read_timeout_s": most_s}
            running = s3_gateway.running(s3_folder / name, riak_cs, name=name, s3=settings)
            made[name] = Wire(stack.enter_context(running).url, alice)
        yield made


@pytest.fixture
def before_mortal(gateways: dict[str, Wire], request: pytest.FixtureRequest) -> Wire:
    call = getattr(request.node, "callspec", None)
    return gateways["hasty" if call and call.params.get("death") is Death.HANGS else "patient"]


def content(size: int) -> bytes:
    return hashlib.shake_128(str(size).encode()).digest(size)


@pytest.mark.parametrize("death", Death)
@pytest.mark.parametrize("size", [100_000, 5 * MIB])
def test_an_upload(death: Death, size: int, before_mortal: Wire, beneath: Wire, mortal: Mortal, bucket: str) -> None:
    body = content(size)
    mortal.die_on(f"PUT /{bucket}/key ", death)
    answer = before_mortal.ask("PUT", f"/{bucket}/key", body)
    assert (answer.status, mortal.deaths) == (200, 1), answer
    assert beneath.ask("GET", f"/{bucket}/key").body == body


def test_a_large_upload_is_told_to_come_again(before_mortal: Wire, beneath: Wire, mortal: Mortal, bucket: str) -> None:
    """What is too large to be kept: nothing is there, and the same request does it."""
    body = content(17 * MIB)
    mortal.die_on(f"PUT /{bucket}/key ", Death.MID_BODY)
    answer = before_mortal.ask("PUT", f"/{bucket}/key", body)
    assert (answer.status, mortal.deaths) == (503, 1), answer
    assert int(answer.headers["retry-after"]) > 0
    assert beneath.ask("HEAD", f"/{bucket}/key").status == 404
    assert before_mortal.ask("PUT", f"/{bucket}/key", body).status == 200


def test_a_damaged_upload_is_not_stored_by_the_node_that_comes_after(
    before_mortal: Wire, beneath: Wire, mortal: Mortal, bucket: str
) -> None:
    mortal.die_on(f"PUT /{bucket}/key ", Death.MID_BODY)
    wrong = {"Content-MD5": "1B2M2Y8AsgTpgAmY7PhCfg=="}
    answer = before_mortal.ask("PUT", f"/{bucket}/key", content(5 * MIB), wrong, sha256="UNSIGNED-PAYLOAD")
    assert answer.outcome == (400, "BadDigest")
    assert mortal.deaths == 1
    assert beneath.ask("HEAD", f"/{bucket}/key").status == 404


def begun(wire: Wire, bucket: str) -> str:
    return wire.ask("POST", f"/{bucket}/key?uploads").text("UploadId")


def completed(wire: Wire, bucket: str, upload: str, etag: str) -> Answer:
    part = f"<Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part>"
    document = f"<CompleteMultipartUpload>{part}</CompleteMultipartUpload>".encode()
    return wire.ask("POST", f"/{bucket}/key?uploadId={upload}", document)


@pytest.mark.parametrize("death", [Death.BEFORE_DONE, Death.AFTER_DONE, Death.HANGS])
@pytest.mark.parametrize("step", ["begin", "part", "completion"])
def test_a_multipart_upload(
    step: str, death: Death, before_mortal: Wire, beneath: Wire, mortal: Mortal, bucket: str
) -> None:
    body = content(5 * MIB + 1)
    if step == "begin":
        mortal.die_on(f"POST /{bucket}/key?uploads", death)
    upload = begun(before_mortal, bucket)
    assert upload
    if step == "part":
        mortal.die_on(f"PUT /{bucket}/key?", death)
    part = before_mortal.ask("PUT", f"/{bucket}/key?partNumber=1&uploadId={upload}", body)
    assert part.status == 200, part
    if step == "completion":
        mortal.die_on(f"POST /{bucket}/key?uploadId", death)
    done = completed(before_mortal, bucket, upload, part.headers["etag"])
    assert done.status == 200, done
    assert mortal.deaths == 1
    assert done.text("ETag").strip('"') == hashlib.md5(hashlib.md5(body).digest()).hexdigest() + "-1"
    assert beneath.ask("GET", f"/{bucket}/key").body == body


@pytest.mark.parametrize("death", [Death.BEFORE_DONE, Death.AFTER_DONE])
@pytest.mark.parametrize("what", ["PUT", "DELETE"])
def test_a_bucket(what: str, death: Death, before_mortal: Wire, beneath: Wire, mortal: Mortal) -> None:
    bucket = f"t-{secrets.token_hex(6)}"
    if what == "DELETE":
        assert beneath.ask("PUT", f"/{bucket}").status == 200
    mortal.die_on(f"{what} /{bucket} ", death)
    assert before_mortal.ask(what, f"/{bucket}").status == (200 if what == "PUT" else 204)
    assert mortal.deaths == 1
    assert beneath.ask("DELETE", f"/{bucket}").status == (204 if what == "PUT" else 404)


@pytest.mark.parametrize("death", [Death.BEFORE_DONE, Death.AFTER_DONE, Death.HANGS])
@pytest.mark.parametrize("what", ["GET", "HEAD", "DELETE"])
def test_what_has_no_body(
    what: str, death: Death, before_mortal: Wire, beneath: Wire, mortal: Mortal, bucket: str
) -> None:
    assert beneath.ask("PUT", f"/{bucket}/key", b"there").status == 200
    mortal.die_on(f"{what} /{bucket}/key ", death)
    answer = before_mortal.ask(what, f"/{bucket}/key")
    assert (answer.status, mortal.deaths) == (204 if what == "DELETE" else 200, 1), answer
    assert beneath.ask("HEAD", f"/{bucket}/key").status == (404 if what == "DELETE" else 200)
