"""What Riak KV refuses for good is told at once, with what to do: by http and by protocol buffers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import cast

import pytest

from controlplane.adapters.riak_kv import RiakCatalog, RiakHttp, RiakJournal, RiakKvOptions
from controlplane.adapters.riak_kv.hot_tier import RiakHotTier
from controlplane.adapters.riak_kv.kv import CACHE, Quorum, RiakKv
from controlplane.adapters.riak_kv.refusals import refusal_of
from controlplane.adapters.riak_pb import RiakPb
from controlplane.adapters.system_clock import SystemClock
from controlplane.ports.errors import Rejected, Unavailable
from tests.contract.catalog_suite import NEAR, manifest
from tests.contract.journal_suite import NOW, draft
from tests.hosts.standin.kv.http import SOFTWARE
from tests.hosts.standin.web.messages import not_found
from tests.hosts.standin.web.server import WebServer
from tests.support.riak_kv import RiakNode, standin

OWN = "of_its_own"
Client = Callable[[RiakNode, str], RiakKv]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RiakNode]:
    """Several backends as Riak CS needs them, and a bucket type beside the default one."""
    with standin(tmp_path_factory.mktemp("riak")) as node:
        assert node.service is not None
        properties = node.service.node.properties
        properties.create_type(OWN, {"allow_mult": True})
        properties.activate_type(OWN)
        yield node


@pytest.fixture(params=["http", "pb"])
async def client(request: pytest.FixtureRequest) -> AsyncIterator[Client]:
    async with AsyncExitStack() as closing:

        def make(node: RiakNode, kind: str) -> RiakKv:
            kv: RiakKv
            if request.param == "http":
                kv = RiakHttp(RiakKvOptions((node.http_url,), kind), SystemClock())
            else:
                kv = RiakPb(RiakKvOptions((node.pb,), kind), SystemClock())
            closing.push_async_callback(kv.aclose)
            return kv

        yield make


async def test_a_type_of_its_own_has_no_indexes_where_there_are_several_backends(
    node: RiakNode, client: Client
) -> None:
    kv, bucket = client(node, OWN), node.cluster()
    await kv.store(bucket, "k", b"v", indexes=[("x_bin", "1")])
    assert (await kv.fetch(bucket, "k")).values == (b"v",)
    with pytest.raises(Rejected, match=r'no secondary indexes.*prefix_multi.*riak_kv.bucket_type = "default"'):
        await kv.index(bucket, "x_bin", "0", "9", limit=1)


async def test_nothing_is_written_where_one_of_two_writes_would_be_lost(tmp_path: Path, client: Client) -> None:
    clock = SystemClock()
    with standin(tmp_path / "riak", allow_mult=False) as node:
        kv = client(node, "default")
        journal = RiakJournal(kv, cluster="c", node="n", limit=5, clock=clock)
        catalog = RiakCatalog(kv, cluster="c", clock=clock)
        for write in (lambda: journal.append(draft("k"), NOW), lambda: catalog.record(manifest("a", NEAR))):
            with pytest.raises(Rejected, match=r"keeps no siblings.*buckets.default.allow_mult = true"):
                await write()
        with pytest.raises(Rejected, match="keeps no siblings"):
            await kv.require_siblings("any")
        await kv.store("c.hot", "k", b"v", quorum=CACHE)  # may be lost
        assert (await kv.fetch("c.hot", "k", CACHE)).values == (b"v",)


async def test_a_hot_bucket_type_is_none_for_a_journal(node: RiakNode, client: Client) -> None:
    with pytest.raises(Rejected, match=r"keeps no siblings.*riak admin bucket-type update millrace_hot '\{"):
        await client(node, node.cache_type).store("b", "k", b"v")


async def test_an_unknown_bucket_type_is_named_with_the_commands_whatever_is_asked(
    node: RiakNode, client: Client
) -> None:
    kv = client(node, "nonsense")
    for call in (
        lambda: kv.fetch("b", "k"),
        lambda: kv.store("b", "k", b""),
        lambda: kv.store("b", "k", b"", quorum=CACHE),
        lambda: kv.delete("b", "k", b""),
        lambda: kv.index("b", "x_bin", "0", "1", limit=1),
    ):
        with pytest.raises(Rejected, match=r"bucket-type create nonsense '.*bucket-type activate nonsense"):
            await call()


@pytest.fixture
def without_paths() -> Iterator[str]:
    """A node's HTTP server before its vnodes run, and after them."""
    server = WebServer(("127.0.0.1", 0), lambda _: not_found(), SOFTWARE)
    server.start()
    yield f"http://127.0.0.1:{server.port}"
    server.stop()


async def test_i5_a_node_that_starts_or_stops_is_an_outage_and_not_a_bucket_type_that_is_not_there(
    without_paths: str,
) -> None:
    kv = RiakHttp(RiakKvOptions((without_paths,), OWN), SystemClock())
    try:
        for call in (
            kv.ping,
            lambda: kv.fetch("b", "k"),
            lambda: kv.store("b", "k", b""),
            lambda: kv.delete("b", "k", b""),
            lambda: kv.index("b", "x_bin", "0", "1", limit=1),
        ):
            with pytest.raises(Unavailable, match="starts or stops"):
                await call()
    finally:
        await kv.aclose()


async def test_another_node_is_asked_while_one_starts_or_stops(node: RiakNode, without_paths: str) -> None:
    kv, bucket = RiakHttp(RiakKvOptions((without_paths, node.http_url), "default"), SystemClock()), node.cluster()
    try:
        for key in ("a", "b", "c"):  # by turns: neither node is the first each time
            await kv.store(bucket, key, b"v", indexes=[("x_bin", key)])
        for key in ("a", "b", "c"):
            assert (await kv.fetch(bucket, key)).values == (b"v",)
            assert (await kv.index(bucket, "x_bin", key, key, limit=2)).rows == ((key, key),)
    finally:
        await kv.aclose()


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("No bucket-type named 'x'", "bucket-type create"),
        ("Unknown bucket type: x", "bucket-type create"),
        ('Invalid bucket type: <<"x">>', "bucket-type create"),
        ("{bucket_type_unknown,<<120>>}", "bucket-type create"),
        ("no_type", "bucket-type create"),
        ("{error,{indexes_not_supported,riak_kv_multi_prefix_backend}}", "prefix_multi"),
        ("Error:\n{too_large,53477621}\n", "object.size.maximum"),
    ],
)
def test_it_is_told_from_what_riak_says(said: str, told: str) -> None:
    assert told in str(refusal_of(said, "x", "Riak KV"))


@pytest.mark.parametrize("said", ["timeout", "{error,function_clause,[{riak_core_bucket_type,get,1}]}", "overload", ""])
def test_what_may_pass_is_no_refusal(said: str) -> None:
    assert refusal_of(said, "x", "Riak KV") is None


async def test_i4_what_a_hot_tier_forgets_is_forgotten_by_all_replicas(client: Client, node: RiakNode) -> None:
    """A read is answered by one of them. Where one is away, the node that stands in for it is asked (pw 0)."""
    asked: list[Quorum] = []
    real = client(node, node.cache_type)

    class Watched:
        def __getattr__(self, name: str) -> object:
            return getattr(real, name)

        async def delete(self, bucket: str, key: str, clock: bytes, quorum: Quorum) -> None:
            asked.append(quorum)
            await real.delete(bucket, key, clock, quorum)

    tier = RiakHotTier(cast("RiakKv", Watched()), node.cluster(), timeout_s=20)
    await tier.put("it", b"v")
    await tier.forget("it")
    assert await tier.get("it") is None
    assert [(quorum.replicas, quorum.primaries, quorum.keeps_all) for quorum in asked] == [("all", "0", False)]
