"""How tests go about a Riak KV that is somebody's own: what it lacks is said with the commands that make it, what they
wrote there is gone at the end. The part of the real one is played by a stand-in."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from controlplane.adapters.riak_kv import RiakHttp, RiakKvOptions
from controlplane.adapters.riak_kv.kv import CACHE, STRICT, Fetched
from controlplane.adapters.system_clock import SystemClock
from tests.contract.journal_suite import NOW, draft
from tests.support import riak_kv
from tests.support.ports import free_port
from tests.support.real_riak_kv import Everywhere, Lacks
from tests.support.riak_kv import RiakNode, given_or_standin, standin

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def nothing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_URL", "PB", "BUCKET_TYPE", "CACHE_TYPE"):
        monkeypatch.delenv(f"MILLRACE_RIAK_{name}", raising=False)


def name(monkeypatch: pytest.MonkeyPatch, node: RiakNode, **types: str) -> None:
    monkeypatch.setenv("MILLRACE_RIAK_HTTP_URL", f"{node.http_url}/")
    monkeypatch.setenv("MILLRACE_RIAK_PB", node.pb)
    for kind, value in types.items():
        monkeypatch.setenv(f"MILLRACE_RIAK_{kind}_TYPE", value)


def held(node: RiakNode) -> set[tuple[str, str, str]]:
    """(type, bucket, key) of every living object."""
    assert node.service is not None
    inner = node.service.node.coordinator
    places = {(kind, bucket, key) for kind, bucket in inner.buckets() for key in inner.keys(kind, bucket)}
    found = ((place, inner.get(place)) for place in places)
    return {place for place, value in found if value is not None and value.live}


@pytest.mark.parametrize("cache_type", ["", riak_kv.CACHE_TYPE, "other"])
@pytest.mark.parametrize("pb", [False, True])
async def test_what_tests_wrote_is_gone_at_the_end(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cache_type: str, pb: bool
) -> None:
    """Also where it has no bucket type of ours at all, as a new one has."""
    from controlplane.adapters.riak_kv import RiakCatalog, RiakJournal
    from controlplane.adapters.riak_kv.hot_tier import RiakHotTier
    from tests.contract.catalog_suite import NEAR, manifest

    clock = SystemClock()
    with standin(tmp_path / "real", cache_type=cache_type) as real:
        assert real.service is not None
        name(monkeypatch, real, **({"CACHE": cache_type} if cache_type == "other" else {}))
        with given_or_standin(tmp_path / "unused", pb=pb) as node:
            assert (node.http_url, node.pb, node.service) == (real.http_url, real.pb, None)
            cluster = node.cluster()
            kv = node.over_pb(clock) if pb else node.over_http(clock)
            journal = RiakJournal(kv, cluster=cluster, node="n", limit=5, clock=clock)
            await journal.append(draft("k"), NOW)
            catalog = RiakCatalog(kv, cluster=cluster, clock=clock)
            await catalog.record(manifest("a", NEAR))
            tier = RiakHotTier(node.over_cache("t-hot"), "t-hot", timeout_s=20)
            await tier.put("it", b"one")
            await tier.put("it", b"two")
            assert await tier.get("it") == b"two"
            kind = cache_type or "default"
            assert (kind, "t-hot", "it") in held(real)
            assert real.service.node.properties.of(kind, "t-hot")["backend"] == "be_cache"
            assert len(held(real)) >= 4
            for client in (journal, catalog, tier):
                await client.aclose()
        assert not held(real)
        assert "backend" not in real.service.node.properties.of("default", "t-hot")


def test_the_commands_make_what_was_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with standin(tmp_path / "real", cache_type="") as real:
        assert real.service is not None
        name(monkeypatch, real, BUCKET="journals")
        with pytest.raises(Lacks) as lacks, given_or_standin(tmp_path / "unused"):
            pass
        for command in re.findall(r"riak admin (bucket-type .*)", str(lacks.value)):
            words = re.fullmatch(r"bucket-type (\S+) (\S+) ?'?([^']*)'?", command)
            assert words is not None
            said, code = real.service.admin([word for word in ("bucket-type", *words.groups()) if word])
            assert (code, said.splitlines()[-1]) == (0, "ok")
        with pytest.raises(Lacks, match=r"no secondary indexes.*prefix_multi"), given_or_standin(tmp_path / "unused"):
            pass  # it is there now, and of no use with several backends


def test_no_siblings_no_memory_and_nobody_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with standin(tmp_path / "a", allow_mult=False) as real:
        name(monkeypatch, real)
        with pytest.raises(Lacks, match=r"buckets\.default\.allow_mult = true"), given_or_standin(tmp_path / "unused"):
            pass
        assert "allow_mult" in riak_kv.header()
    with standin(tmp_path / "b", cache_type="") as real:
        name(monkeypatch, real)
        monkeypatch.setattr("tests.support.real_riak_kv.OWN_PROPERTIES", {"backend": "be_nonsense"})
        with pytest.raises(Lacks) as lacks, given_or_standin(tmp_path / "unused"):
            pass
    defaults = yaml.safe_load((ROOT / "roles/riak/defaults/main.yml").read_text())["riak_bucket_types"]
    (props,) = re.findall(r"create millrace_hot '(.*)'", str(lacks.value))
    assert json.loads(props)["props"] == defaults["millrace_hot"]
    monkeypatch.setenv("MILLRACE_RIAK_HTTP_URL", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(Lacks, match="does not answer"), given_or_standin(tmp_path / "unused"):
        pass


async def test_writes_are_acknowledged_by_all_and_reads_are_as_they_were(tmp_path: Path) -> None:
    asked: list[tuple[str, object]] = []

    class Kv(RiakHttp):
        async def fetch(self, bucket: str, key: str, quorum: object = STRICT) -> Fetched:
            asked.append(("fetch", quorum))
            return Fetched()

        async def store(self, bucket: str, key: str, value: bytes, **more: object) -> None:
            asked.append(("store", more["quorum"]))

        async def delete(self, bucket: str, key: str, clock: bytes, quorum: object = STRICT) -> None:
            asked.append(("delete", quorum))

    wrote: list[str] = []
    kv = Everywhere(Kv(RiakKvOptions(("http://none",), "default"), SystemClock()), wrote.append)
    for quorum in (STRICT, CACHE):
        await kv.fetch("b", "k", quorum)
        await kv.store("b", "k", b"", quorum=quorum)
        await kv.delete("b", "k", b"", quorum)
    words = [
        (what, getattr(q, "replicas", ""), getattr(q, "primaries", ""), getattr(q, "keeps_all", ""))
        for what, q in asked
    ]
    assert words == [
        ("fetch", "quorum", "quorum", True), ("store", "all", "all", True), ("delete", "all", "all", True),
        ("fetch", "1", "0", False), ("store", "all", "0", False), ("delete", "all", "0", False),
    ]  # fmt: skip
    assert wrote == ["b", "b"]
