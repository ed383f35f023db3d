"""The admin's secret of Riak CS is rotated under a running gateway: once its file has the new one, all goes on without
a restart, and before that a known caller is served and nobody is told that he may not."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Self

import pytest

from controlplane.wiring.admin_keys import LOOK_S
from tests.integration.s3_gateway.wire import Wire
from tests.support import s3_gateway
from tests.support.etcd_cluster import EtcdCluster
from tests.support.riak_cs import RiakCs, User, standin
from tests.support.s3_gateway import S3Gateway


@pytest.fixture
def own_riak_cs(tmp_path: Path) -> Iterator[RiakCs]:
    """Never the real one, whose admin's secret is not the tests' to change."""
    with standin(tmp_path / "riak-cs") as started:
        yield started


@pytest.fixture
def own_gateway(tmp_path: Path, own_riak_cs: RiakCs, s3_etcd: EtcdCluster) -> Iterator[S3Gateway]:
    with s3_gateway.running(tmp_path / "gateway", own_riak_cs, s3_etcd.urls, name="rotated") as started:
        yield started


class Reader:
    """Reads one object all the time. `answers`: when each request began, and its status."""

    def __init__(self, wire: Wire, path: str) -> None:
        self._wire, self._path = wire, path
        self._stop = threading.Event()
        self.answers: list[tuple[float, int]] = []
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(60)

    def _run(self) -> None:
        while not self._stop.wait(0.02):
            began = time.monotonic()
            self.answers.append((began, self._wire.ask("GET", self._path).status))


def test_a_new_secret_of_the_admin_is_taken_up_without_a_restart(
    tmp_path: Path, own_riak_cs: RiakCs, own_gateway: S3Gateway
) -> None:
    alice = Wire(own_gateway.url, own_riak_cs.create_user("alice"))
    tags = {"x-amz-tagging": "team=red"}
    assert alice.ask("PUT", "/rotated").status == 200
    assert alice.ask("PUT", "/rotated/key", b"before", tags).status == 200
    with Reader(alice, "/rotated/key") as reader:
        time.sleep(0.5)
        rotated_at = time.monotonic()
        made = own_riak_cs.change_user(User("admin", own_riak_cs.key, own_riak_cs.secret, ""), new_key_secret=True)
        renewed = replace(own_riak_cs, secret=made["key_secret"])
        assert renewed.secret != own_riak_cs.secret
        bob = Wire(own_gateway.url, renewed.create_user("bob"))
        assert bob.ask("GET", "/").status == 503, "the admin's refusal is an outage, not bob's"
        assert alice.ask("GET", "/").status == 200, "a caller that is known goes on"

        fresh = tmp_path / "fresh"
        fresh.touch(0o600)
        fresh.write_text(renewed.secret + "\n")
        os.replace(fresh, tmp_path / "gateway" / "admin-secret")
        time.sleep(LOOK_S)
        taken_up_at = time.monotonic()

        assert bob.ask("GET", "/").status == 200
        assert bob.ask("PUT", "/rotated-too").status == 200
        assert bob.ask("PUT", "/rotated-too/key", b"after", tags).status == 200
        assert bob.ask("GET", "/rotated-too/key?tagging").text("TagSet/Tag/Value") == "red"
        assert alice.ask("PUT", "/rotated/key", b"after", tags).status == 200
        assert alice.ask("GET", "/rotated/key?acl").status == 200
        assert Wire(own_gateway.url, renewed.create_user("carol")).ask("GET", "/").status == 200
        time.sleep(6.0)  # longer than what is known of a bucket is kept (s3.access_cache_s)

    assert 403 not in {status for _, status in reader.answers}
    outside = [status for began, status in reader.answers if not rotated_at - 0.5 <= began <= taken_up_at]
    assert outside
    assert set(outside) == {200}


def test_the_former_secret_serves_nobody_once_the_gateway_knows_the_new_one(
    tmp_path: Path, own_riak_cs: RiakCs, own_gateway: S3Gateway
) -> None:
    """The admin as a caller: kept by the gateway from before, his former secret still opens nothing at Riak CS."""
    former = Wire(own_gateway.url, User("admin", own_riak_cs.key, own_riak_cs.secret, ""))
    assert former.ask("PUT", "/admins").status == 200
    assert former.ask("PUT", "/admins/key", b"x").status == 200
    made = own_riak_cs.change_user(User("admin", own_riak_cs.key, own_riak_cs.secret, ""), new_key_secret=True)
    renewed = replace(own_riak_cs, secret=made["key_secret"])
    (tmp_path / "gateway" / "admin-secret").write_text(renewed.secret + "\n")
    bob = Wire(own_gateway.url, renewed.create_user("bob"))
    assert bob.ask("GET", "/").status == 200
    assert former.ask("GET", "/admins/key").status == 403
    assert former.ask("PUT", "/admins/key", b"y").status == 403
    now = former.as_(User("admin", renewed.key, renewed.secret, ""))
    time.sleep(2.0)  # for as long a signature that does not match is not looked up anew
    assert now.ask("GET", "/admins/key").body == b"x"
