"""What a client sees when stores are away, disks are full, copies are damaged, or it is itself slow or gone."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from controlplane.http import Limits
from controlplane.model.keys import Key, blob_key
from controlplane.ports.errors import Unavailable
from controlplane.services.fetch import HOLD_BACK
from tests.integration.gateway.conftest import Serve
from tests.integration.gateway.serving import ALL, CutOff, Served, exchange, read_answer
from tests.support.fakes import content_of, damage, failing

SMALL = b"a small blob"
LARGE = bytes(range(256)) * 16_384  # 4 MiB
HEAD = f"POST /blobs HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {ALL}\r\n".encode()


async def test_i5_primary_down_is_503_with_retry_after_for_every_verb(serve: Serve) -> None:
    gateway = await serve()
    guid = (await gateway.ask("POST", "/blobs", SMALL)).json()["guid"]
    gateway.node.primary.fault = failing(error=lambda: Unavailable("primary away", retry_after=7.0))
    for method, path, body in (
        ("POST", "/blobs", b"new"),
        ("PUT", f"/blobs/{guid}", SMALL),
        ("GET", f"/blobs/{guid}", None),
        ("HEAD", f"/blobs/{guid}", None),
        ("DELETE", f"/blobs/{guid}", None),
        ("GET", f"/blobs/sha256/{content_of(SMALL).sha256}", None),
    ):
        answer = await gateway.ask(method, path, body)
        assert (answer.status, answer.headers["retry-after"]) == (503, "7"), method
        assert method == "HEAD" or answer.kind == "unavailable"
    gateway.node.primary.fault = None
    assert (await gateway.ask("GET", f"/blobs/{guid}")).body == SMALL


async def test_i5_an_unmounted_primary_is_503_not_404(serve: Serve, tmp_path: Path) -> None:
    gateway = await serve(primary="filesystem", primary_path=tmp_path / "disk")
    guid = (await gateway.ask("POST", "/blobs", LARGE)).json()["guid"]
    (tmp_path / "disk").rename(tmp_path / "unmounted")
    for method, path, body in (
        ("GET", f"/blobs/{guid}", None),
        ("POST", "/blobs", b"x"),
        ("DELETE", f"/blobs/{guid}", None),
    ):
        assert (await gateway.ask(method, path, body)).kind == "unavailable"
    (tmp_path / "unmounted").rename(tmp_path / "disk")
    assert (await gateway.ask("GET", f"/blobs/{guid}")).body == LARGE


async def test_i10_persistent_down_is_201_until_the_journal_is_full_then_503_and_no_drop(serve: Serve) -> None:
    gateway = await serve(journal_limit=10)
    gateway.node.persistent.fault = failing()
    blobs = [b"%d" % n for n in range(10)]
    for data in blobs:
        assert (await gateway.ask("POST", "/blobs", data)).status == 201
    refused = await gateway.ask("POST", "/blobs", b"one more")
    assert (refused.status, refused.kind) == (503, "journal-full")
    assert int(refused.headers["retry-after"]) > 0
    assert (await gateway.ask("DELETE", f"/blobs/{content_of(b'0').md5}")).kind == "journal-full"
    for data in blobs:
        assert (await gateway.ask("GET", f"/blobs/{content_of(data).md5}")).body == data
    assert not await gateway.in_primary(blob_key(content_of(b"one more").md5))
    gateway.node.persistent.fault = None
    await gateway.drain()
    assert gateway.node.persistent.names == sorted(blob_key(content_of(data).md5) for data in blobs)
    assert (await gateway.ask("POST", "/blobs", b"one more")).status == 201


async def test_i5_a_blob_that_only_a_store_that_is_away_has_is_503(gateway: Served) -> None:
    guid = (await gateway.ask("POST", "/blobs", SMALL)).json()["guid"]
    await gateway.drain()
    await gateway.node.near.delete(Key(blob_key(guid)))
    gateway.node.persistent.fault = failing()
    for method in ("GET", "HEAD"):
        assert (await gateway.ask(method, f"/blobs/{guid}")).status == 503


async def test_i4_deleted_stays_404_while_the_persistent_store_is_away(gateway: Served) -> None:
    guid = (await gateway.ask("POST", "/blobs", SMALL)).json()["guid"]
    await gateway.drain()
    assert (await gateway.ask("GET", f"/blobs/{guid}")).body == SMALL
    assert (await gateway.ask("DELETE", f"/blobs/{guid}")).status == 204
    gateway.node.persistent.fault = failing()
    assert (await gateway.ask("GET", f"/blobs/{guid}")).status == 404
    gateway.node.persistent.fault = None
    assert (await gateway.ask("GET", f"/blobs/{guid}")).status == 404
    assert (await gateway.ask("POST", "/blobs", SMALL)).status == 201
    assert (await gateway.ask("GET", f"/blobs/{guid}")).body == SMALL


async def test_a_full_spool_is_507_and_leaves_nothing(tiny: Path, serve: Serve) -> None:
    gateway = await serve(spool_path=tiny / "spool", memory_bytes=1000)
    by_length = await gateway.ask("POST", "/blobs", LARGE * 2)
    assert (by_length.status, by_length.kind) == (507, "storage-full")
    chunked = b"".join(b"%x\r\n%b\r\n" % (len(LARGE), LARGE) for _ in range(2)) + b"0\r\n\r\n"
    in_chunks = await exchange(gateway.port, HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunked)
    assert (in_chunks.status, in_chunks.kind) == (507, "storage-full")
    assert await gateway.nothing_left()
    assert (await gateway.ask("POST", "/blobs", LARGE[: 1 << 20])).status == 201


async def test_a_full_primary_is_507_and_leaves_nothing(tiny: Path, serve: Serve) -> None:
    gateway = await serve(primary="filesystem", primary_path=tiny / "store", memory_bytes=1000)
    answer = await gateway.ask("POST", "/blobs", LARGE * 2)
    assert (answer.status, answer.kind) == (507, "storage-full")
    assert await gateway.nothing_left()
    assert (await gateway.ask("POST", "/blobs", LARGE[: 1 << 20])).status == 201


# -- I2 ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("store", ["primary", "persistent"])
async def test_i2_a_small_damaged_copy_is_502(serve: Serve, store: str) -> None:
    gateway = await serve()
    guid = (await gateway.ask("POST", "/blobs", SMALL)).json()["guid"]
    await gateway.drain()
    if store == "persistent":
        await gateway.node.near.delete(Key(blob_key(guid)))
    damage(getattr(gateway.node, store), blob_key(guid))
    for _ in range(2):
        answer = await gateway.ask("GET", f"/blobs/{guid}")
        assert (answer.status, answer.kind) == (502, "corrupt")


async def test_i2_a_damaged_small_file_of_the_embedded_store_is_502(serve: Serve, tmp_path: Path) -> None:
    gateway = await serve(primary="filesystem", primary_path=tmp_path / "store")
    guid = (await gateway.ask("POST", "/blobs", SMALL)).json()["guid"]
    (file,) = [path for path in (tmp_path / "store" / "objects").rglob("*") if path.is_file()]
    with file.open("r+b") as opened:
        opened.write(b"A")
    assert (await gateway.ask("GET", f"/blobs/{guid}")).kind == "corrupt"


@pytest.mark.parametrize("store", ["primary", "persistent"])
@pytest.mark.parametrize("hot_max_bytes", [1 << 20, 64 << 20])
async def test_i2_a_large_damaged_copy_breaks_off_before_its_end(serve: Serve, store: str, hot_max_bytes: int) -> None:
    gateway = await serve(memory_bytes=1000, hot_max_bytes=hot_max_bytes, hot_bytes=128 << 20)
    guid = (await gateway.ask("POST", "/blobs", LARGE)).json()["guid"]
    await gateway.drain()
    if store == "persistent":
        await gateway.node.near.delete(Key(blob_key(guid)))
    damage(getattr(gateway.node, store), blob_key(guid))
    with pytest.raises(CutOff) as cut:
        await gateway.ask("GET", f"/blobs/{guid}")
    assert cut.value.status == 200
    assert len(cut.value.got) <= len(LARGE) - HOLD_BACK
    await gateway.node.filler.aclose()
    assert store == "primary" or not await gateway.in_primary(blob_key(guid))


# -- clients ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("sent", [0, 500, 300_000, 3_000_000])
@pytest.mark.parametrize("primary", ["memory", "filesystem"])
async def test_a_client_that_disconnects_within_its_body_leaves_nothing(
    serve: Serve, primary: str, sent: int, chunked: bool
) -> None:
    gateway = await serve(primary=primary, memory_bytes=1000)
    framing = b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" if chunked else b"Content-Length: %d\r\n\r\n"
    _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(HEAD + framing % len(LARGE) + LARGE[:sent])
    await writer.drain()
    await asyncio.sleep(0.05)
    writer.transport.abort()
    assert await gateway.nothing_left()
    assert [status for (_, status) in gateway.requests.requests] in ([], [499])
    assert (await gateway.ask("POST", "/blobs", LARGE)).status == 201


async def test_a_client_that_leaves_while_it_is_sent_a_blob_holds_nothing(serve: Serve) -> None:
    gateway = await serve(memory_bytes=1000)
    guid = (await gateway.ask("POST", "/blobs", LARGE * 8)).json()["guid"]
    await gateway.drain()
    await gateway.node.near.delete(Key(blob_key(guid)))
    for _ in range(5):
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(f"GET /blobs/{guid} HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {ALL}\r\n\r\n".encode())
        await reader.readexactly(1000)
        writer.transport.abort()
    for _ in range(200):
        if not gateway.server.connections:
            break
        await asyncio.sleep(0.01)
    await gateway.node.filler.aclose()
    assert gateway.node.spool_files() == []
    assert gateway.node.filler.under_way == 0
    assert (await gateway.ask("GET", f"/blobs/{guid}")).body == LARGE * 8


async def test_slow_clients_time_out_and_leave_nothing(serve: Serve) -> None:
    limits = Limits(header_timeout_s=0.3, body_timeout_s=0.4, idle_timeout_s=0.5, min_body_rate=10_000)
    gateway = await serve(limits=limits, memory_bytes=10)

    async def stalls(request: bytes, drip: bytes = b"") -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(request)

        async def dripping() -> None:
            while drip:
                writer.write(drip)
                await asyncio.sleep(0.05)

        dripper = asyncio.ensure_future(dripping())
        try:
            async with asyncio.timeout(60):
                return (await read_answer(reader)).status
        except CutOff as cut:
            return cut.status
        finally:
            dripper.cancel()
            writer.transport.abort()

    statuses = await asyncio.gather(
        stalls(b"GET /blobs/x HTTP/1.1\r\nHost: t\r\n"),
        stalls(HEAD + b"Content-Length: 100000\r\n\r\n0123456789abcdef"),
        stalls(HEAD + b"Content-Length: 100000\r\n\r\n", drip=b"x" * 50),
        stalls(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", drip=b"1\r\nx\r\n"),
        stalls(b""),
    )
    assert statuses == [408, 408, 408, 408, 0]
    assert await gateway.nothing_left()


# -- the admin port ---------------------------------------------------------------------------------------------


async def test_i10_readiness_names_what_is_away_and_only_what_is_needed_counts(serve: Serve) -> None:
    gateway = await serve()
    assert (await gateway.look("/healthz")).status == 200
    ready = await gateway.look("/readyz")
    assert ready.status == 200
    assert ready.json()["checks"]["primary"] == {"ok": True, "needed": True, "error": None}
    gateway.node.persistent.fault = failing(error=lambda: Unavailable("persistent is on holiday"))
    await asyncio.sleep(1.05)
    without_far = await gateway.look("/readyz")
    assert without_far.status == 200
    assert without_far.json()["ready"] is True
    assert without_far.json()["checks"]["persistent"] == {
        "ok": False,
        "needed": False,
        "error": "persistent is on holiday",
    }
    gateway.node.primary.fault = failing(error=lambda: Unavailable("primary is away"))
    await asyncio.sleep(1.05)
    without_near = await gateway.look("/readyz")
    assert without_near.status == 503
    assert without_near.json()["checks"]["primary"]["error"] == "primary is away"
    assert (await gateway.look("/healthz")).status == 200


async def test_metrics_tell_requests_blobs_journal_and_cache(serve: Serve) -> None:
    gateway = await serve()
    guid = (await gateway.ask("POST", "/blobs", SMALL)).json()["guid"]
    for _ in range(3):
        await gateway.ask("GET", f"/blobs/{guid}")
    await gateway.ask("GET", f"/blobs/{content_of(b'never').md5}")
    metrics = await gateway.look("/metrics")
    assert metrics.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = metrics.body.decode().splitlines()
    for expected in (
        'millrace_build_info{node="n1"} 1.0',
        'millrace_http_requests_total{method="GET",status="200"} 3.0',
        'millrace_http_requests_total{method="GET",status="404"} 1.0',
        'millrace_http_requests_total{method="POST",status="201"} 1.0',
        'millrace_http_request_duration_seconds_count{method="GET"} 4.0',
        "millrace_blobs_stored_total 1.0",
        "millrace_blobs_corrupt_total 0.0",
        "millrace_journal_pending_entries 1.0",
        f"millrace_journal_pending_bytes {float(len(SMALL))}",
        "millrace_journal_limit_entries 10000.0",
        "millrace_hot_cache_entries 1.0",
        "millrace_hot_cache_hits_total 2.0",
    ):
        assert expected in lines
    oldest = next(line for line in lines if line.startswith("millrace_journal_oldest_age_seconds "))
    assert 0 <= float(oldest.split()[1]) < 10
    await gateway.drain()
    drained = (await gateway.look("/metrics")).body.decode().splitlines()
    assert "millrace_mirror_copied_objects_total 1.0" in drained
    assert "millrace_journal_pending_entries 0.0" in drained
    assert "millrace_mirror_lag_seconds_count 1.0" in drained


async def test_metrics_are_told_also_when_the_journal_fails(serve: Serve) -> None:
    gateway = await serve()
    await gateway.node.journal.aclose()
    assert (await gateway.look("/metrics")).status == 200
    ready = await gateway.look("/readyz")
    assert ready.status == 503
    assert ready.json()["checks"]["journal"]["ok"] is False


async def test_the_admin_port_knows_its_three_paths(serve: Serve) -> None:
    gateway = await serve()
    assert (await gateway.look("/blobs")).status == 404
    assert (
        await exchange(gateway.admin_port, b"POST /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    ).status == 405


async def test_a_bug_is_500_without_a_word_about_the_inside(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    gateway = await serve()

    def bug(op: str, key: Key) -> None:
        raise ZeroDivisionError("the inside")

    gateway.node.primary.fault = bug
    answer = await gateway.ask("POST", "/blobs", SMALL)
    assert (answer.status, answer.kind) == (500, "internal")
    assert b"inside" not in answer.body
    gateway.node.primary.fault = None
    assert (await gateway.ask("POST", "/blobs", SMALL)).status == 201
