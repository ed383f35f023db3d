"""Conditional writes are atomic across gateways, and 503 without etcd; damaged and broken uploads leave nothing."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.integration.s3_gateway.wire import Answer, Wire
from tests.support import s3_gateway
from tests.support.etcd_cluster import EtcdCluster
from tests.support.riak_cs import RiakCs, User

WRITERS = 8
LARGE = 2 * 1024 * 1024


@pytest.fixture(scope="module")
def both(
    wire: Wire, riak_cs: RiakCs, s3_folder: Path, s3_etcd: EtcdCluster, alice: User
) -> Iterator[tuple[Wire, Wire]]:
    """The same bucket through two gateways."""
    with s3_gateway.running(s3_folder / "second", riak_cs, s3_etcd.urls, name="gateway3") as second:
        yield wire, Wire(second.url, alice)


def at_once(writers: tuple[Wire, Wire], path: str, bodies: list[bytes], headers: dict[str, str]) -> list[Answer]:
    with ThreadPoolExecutor(len(bodies)) as threads:
        asked = [
            threads.submit(writers[number % 2].ask, "PUT", path, body, headers) for number, body in enumerate(bodies)
        ]
        return [one.result() for one in asked]


@pytest.mark.parametrize("size", [10, LARGE])
def test_of_many_that_create_a_key_through_two_gateways_one_does(
    size: int, both: tuple[Wire, Wire], bucket: str
) -> None:
    bodies = [secrets.token_bytes(size) for _ in range(WRITERS)]
    answers = at_once(both, f"/{bucket}/new", bodies, {"If-None-Match": "*"})
    statuses = [answer.status for answer in answers]
    assert statuses.count(200) == 1, statuses
    assert set(statuses) <= {200, 412, 409}, statuses
    winner = bodies[statuses.index(200)]
    for gateway in both:
        assert gateway.ask("GET", f"/{bucket}/new").body == winner


def test_of_many_that_replace_what_they_have_seen_one_does(both: tuple[Wire, Wire], bucket: str) -> None:
    assert both[0].ask("PUT", f"/{bucket}/k", b"first").status == 200
    etag = f'"{hashlib.md5(b"first").hexdigest()}"'
    bodies = [secrets.token_bytes(20) for _ in range(WRITERS)]
    statuses = [answer.status for answer in at_once(both, f"/{bucket}/k", bodies, {"If-Match": etag})]
    assert statuses.count(200) == 1, statuses
    assert both[1].ask("GET", f"/{bucket}/k").body == bodies[statuses.index(200)]


def test_without_etcd_a_conditional_write_is_503_and_changes_nothing(
    riak_cs: RiakCs, s3_folder: Path, alice: User, wire: Wire, bucket: str
) -> None:
    with s3_gateway.running(s3_folder / "alone", riak_cs, name="alone") as alone:
        answer = Wire(alone.url, alice).ask("PUT", f"/{bucket}/k", b"x", {"If-None-Match": "*"})
        assert answer.outcome == (503, "ServiceUnavailable")
        assert answer.headers["retry-after"]
        assert Wire(alone.url, alice).ask("PUT", f"/{bucket}/other", b"x").status == 200
    assert wire.ask("GET", f"/{bucket}/k").outcome == (404, "NoSuchKey")


@pytest.mark.parametrize("sent", [0, 1000, LARGE - 1])
def test_an_upload_that_breaks_off_leaves_what_was_there(sent: int, wire: Wire, beneath: Wire, bucket: str) -> None:
    assert wire.ask("PUT", f"/{bucket}/k", b"before").status == 200
    body = secrets.token_bytes(LARGE)
    head = (
        f"PUT {wire.presigned('PUT', f'/{bucket}/k')} HTTP/1.1\r\nHost: {wire.host}\r\nContent-Length: {LARGE}\r\n\r\n"
    )
    with wire.connected() as sock:
        sock.sendall(head.encode() + body[:sent])
    assert beneath.ask("GET", f"/{bucket}/k").body == b"before"
