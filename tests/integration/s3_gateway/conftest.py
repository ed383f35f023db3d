"""Gateways as real processes, over HTTP and TLS, before one Riak CS (tests/support/riak_cs.py) and a real etcd."""

from __future__ import annotations

import html
import re
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.integration.s3_gateway.wire import Wire
from tests.support import riak_cs as upstreams
from tests.support import s3_gateway
from tests.support.etcd_cluster import Authority, EtcdCluster
from tests.support.riak_cs import RiakCs, User
from tests.support.s3_gateway import S3Gateway


@pytest.fixture(scope="session")
def riak_cs() -> Iterator[RiakCs]:
    with upstreams.upstream() as found:
        yield found


@pytest.fixture(scope="session")
def s3_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("s3-gateway")


@pytest.fixture(scope="session")
def s3_etcd() -> Iterator[EtcdCluster]:
    with EtcdCluster(1) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def gateway(riak_cs: RiakCs, s3_folder: Path, s3_etcd: EtcdCluster) -> Iterator[S3Gateway]:
    with s3_gateway.running(s3_folder / "plain", riak_cs, s3_etcd.urls) as started:
        yield started


@pytest.fixture(scope="session")
def tls_gateway(riak_cs: RiakCs, s3_folder: Path, s3_etcd: EtcdCluster) -> Iterator[S3Gateway]:
    """A second one before the same store, under the same etcd."""
    authority = Authority.make(s3_folder / "authority")
    with s3_gateway.running(s3_folder / "tls", riak_cs, s3_etcd.urls, tls=authority, name="gateway2") as started:
        yield started


@pytest.fixture(scope="session")
def alice(riak_cs: RiakCs) -> User:
    return riak_cs.create_user("alice")


@pytest.fixture(scope="session")
def bob(riak_cs: RiakCs) -> User:
    return riak_cs.create_user("bob")


@pytest.fixture(scope="session")
def carol(riak_cs: RiakCs) -> User:
    return riak_cs.create_user("carol")


@pytest.fixture(scope="session")
def wire(gateway: S3Gateway, alice: User) -> Wire:
    """Requests signed by alice, every byte of them in the test's hand."""
    return Wire(gateway.url, alice)


@pytest.fixture(scope="session")
def beneath(riak_cs: RiakCs, alice: User) -> Wire:
    """The same directly at Riak CS: what it holds in the end."""
    return Wire(riak_cs.url, alice)


@pytest.fixture
def new_bucket(wire: Wire, beneath: Wire) -> Iterator[Callable[[], str]]:
    """Makes buckets of alice's with names of their own. They are removed behind the gateway: a user may have 100."""
    made: list[str] = []

    def make() -> str:
        name = f"t-{secrets.token_hex(6)}"
        answer = wire.ask("PUT", f"/{name}")
        assert answer.status == 200, answer
        made.append(name)
        return name

    yield make
    for name in made:
        remove_bucket(beneath, name)


def remove_bucket(beneath: Wire, name: str) -> None:
    # Riak CS writes control characters of keys into its XML as they are: no parser takes that.
    for key in re.findall(rb"<Key>(.*?)</Key>", beneath.ask("GET", f"/{name}", sign="v2").body, re.DOTALL):
        beneath.ask("DELETE", f"/{name}/{quote(html.unescape(key.decode()))}", sign="v2")
    beneath.ask("DELETE", f"/{name}", sign="v2")


@pytest.fixture
def bucket(new_bucket: Callable[[], str]) -> str:
    return new_bucket()
