"""Readiness and metrics, without sockets: what is said, how often it is asked, and that names follow conventions."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from controlplane.adapters.memory.hot_cache import MemoryHotCache
from controlplane.http import Request, Response
from controlplane.http.body import NO_BODY
from controlplane.http.head import HeaderBlock
from controlplane.http.limits import Limits
from controlplane.model.keys import Bucket, Key
from controlplane.model.rule_stats import RuleStats
from controlplane.model.tally import (
    LAG_BOUNDS_S,
    BlobTally,
    GcTally,
    MirrorTally,
    PublishTally,
    RequestTally,
    ScanTally,
)
from controlplane.model.task import Draft, Op
from controlplane.ports.errors import Unavailable
from controlplane.status.admin_api import AdminApi, Check
from controlplane.status.exposition import render
from controlplane.status.sources import Sources
from tests.support.fakes import FakeJournal, content_of
from tests.support.virtual_time import EPOCH, VirtualClock


async def look(api: AdminApi, path: str) -> tuple[int, Any]:
    request = Request("GET", path.encode(), HeaderBlock(b"Host: a\r\n", Limits()), "test", NO_BODY)
    answer = api(request)
    response = await answer if isinstance(answer, Awaitable) else answer
    assert isinstance(response, Response)
    assert isinstance(response.body, bytes)
    return response.status, json.loads(response.body)


async def test_checks_run_side_by_side_once_a_second_however_many_ask(clock: VirtualClock) -> None:
    runs: list[float] = []

    async def slow() -> None:
        runs.append(clock.monotonic())
        await clock.sleep(2)

    api = AdminApi({"a": Check(slow, needed=True), "b": Check(slow, needed=False)}, Sources(), None, clock)
    began = clock.monotonic()
    answers = await asyncio.gather(*(look(api, "/readyz") for _ in range(50)))
    assert {status for status, _ in answers} == {200}
    assert clock.monotonic() - began == 2
    assert len(runs) == 2
    await clock.sleep(1.1)
    await look(api, "/readyz")
    assert len(runs) == 4


async def test_a_look_that_takes_long_does_not_hold_up_who_asks_and_what_was_found_stands_meanwhile(
    clock: VirtualClock,
) -> None:
    """A balancer waits 3 s: it must not take every gateway for dead because a node behind them has lost its power."""
    takes_s = 0.0
    error = ""

    async def check() -> None:
        await clock.sleep(takes_s)
        if error:
            raise Unavailable(error)

    api = AdminApi({"riak_cs": Check(check, needed=True)}, Sources(), None, clock)
    assert (await look(api, "/readyz"))[0] == 200

    async def asked(times: int) -> list[int]:
        found = []
        for _ in range(times):
            began = clock.monotonic()
            found.append((await look(api, "/readyz"))[0])
            assert clock.monotonic() - began <= 0.6
            await clock.sleep(2)
        return found

    takes_s = 5.0
    assert await asked(10) == [200] * 10
    takes_s = 3600.0
    assert (await asked(10))[-5:] == [503] * 5, "what hangs for good is not ready"
    takes_s, error = 0.0, "Riak CS is away"
    assert (await asked(6))[-2:] == [503] * 2
    error = ""
    assert (await asked(3))[-2:] == [200] * 2
    takes_s, error = 1.0, "Riak CS is away"
    await clock.sleep(60)
    began = clock.monotonic()
    assert (await look(api, "/readyz"))[0] == 503, "what was found a minute ago says nothing of now"
    assert clock.monotonic() - began == 1


async def test_i10_a_check_that_hangs_fails_or_breaks_is_said_and_counts_only_if_needed(clock: VirtualClock) -> None:
    async def hangs() -> None:
        await clock.sleep(3600)

    async def fails() -> None:
        raise Unavailable("etcd is away")

    async def breaks() -> None:
        raise ZeroDivisionError("a bug")

    async def works() -> None:
        pass

    def api(needed: bool) -> AdminApi:
        checks = {"hangs": hangs, "fails": fails, "breaks": breaks}
        return AdminApi(
            {"works": Check(works, needed=True), **{name: Check(run, needed) for name, run in checks.items()}},
            Sources(),
            None,
            clock,
        )

    began = clock.monotonic()
    status, body = await look(api(needed=False), "/readyz")
    assert clock.monotonic() - began <= 7.1
    assert (status, body["ready"]) == (200, True)
    assert body["checks"]["works"]["ok"]
    assert "no answer within" in body["checks"]["hangs"]["error"]
    assert body["checks"]["fails"]["error"] == "etcd is away"
    assert "ZeroDivisionError" in body["checks"]["breaks"]["error"]
    status, body = await look(api(needed=True), "/readyz")
    assert (status, body["ready"]) == (503, False)


async def test_metrics_parse_and_keep_the_conventions() -> None:
    requests, mirror, publish = RequestTally(), MirrorTally(), PublishTally()
    requests.observe("GET", 200, 100, 0.02)
    requests.observe("GET", 503, 0, 40.0)
    mirror.lag.observe(3.0)
    publish.published = True
    journal = FakeJournal(100)
    await journal.append(Draft(Op.PUT, Bucket("b"), Key("k"), content_of(b"12345")), EPOCH)
    labels = {"version": '1"x', "node": "n"}
    gc = GcTally(held=True, batches=3, last_batch_at=EPOCH)
    sources = Sources(requests, BlobTally(), mirror, publish, MemoryHotCache(10_000, 1000), labels, gc)
    sources.scan = ScanTally(interval_s=3600, runs=2, keys=500, found={"missing": 3}, last_found={"missing": 1})
    text = render(sources, await journal.stats(), EPOCH + 7.0).decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert all(name.startswith("millrace_") for name in families)
    assert all(family.documentation.endswith(".") for family in families.values())
    for family in families.values():
        if family.type == "counter":
            assert all(sample.name.endswith("_total") for sample in family.samples)
    samples = {(s.name, *sorted(s.labels.items())): s.value for family in families.values() for s in family.samples}
    assert samples["millrace_journal_oldest_age_seconds",] == 7.0
    assert samples["millrace_journal_pending_bytes",] == 5.0
    assert samples["millrace_endpoint_published",] == 1.0
    assert samples["millrace_gc_duty_held",] == 1.0
    assert samples["millrace_gc_last_batch_timestamp_seconds",] == EPOCH
    assert samples["millrace_scan_interval_seconds",] == 3600
    assert samples["millrace_scan_found_total", ("kind", "missing")] == 3
    assert samples["millrace_scan_last_found", ("kind", "missing")] == 1
    seconds = "millrace_http_request_duration_seconds"
    assert samples[f"{seconds}_count", ("method", "GET")] == 2
    assert samples[f"{seconds}_sum", ("method", "GET")] == 40.02
    assert samples[f"{seconds}_bucket", ("le", "0.025"), ("method", "GET")] == 1
    assert samples[f"{seconds}_bucket", ("le", "30.0"), ("method", "GET")] == 1
    assert samples[f"{seconds}_bucket", ("le", "+Inf"), ("method", "GET")] == 2
    assert samples["millrace_build_info", ("node", "n"), ("version", '1"x')] == 1


def test_an_age_is_never_negative_when_the_clock_steps_back() -> None:
    from controlplane.ports.journal import JournalStats

    text = render(Sources(), JournalStats(1, 1, 0, EPOCH, 10), EPOCH - 100).decode()
    assert "millrace_journal_oldest_age_seconds 0.0" in text


def test_each_rule_has_its_figures() -> None:
    counts = [0] * (len(LAG_BOUNDS_S) + 1)
    counts[1] = 3
    far = RuleStats(2, 70, 1, EPOCH - 50, 3, 30, EPOCH - 20, tuple(counts), 0.6)
    text = render(Sources(), None, EPOCH, {"far": far, "": RuleStats()}, {"": EPOCH}).decode()
    for line in (
        'millrace_rule_pending_entries{rule="far"} 2.0',
        'millrace_rule_pending_bytes{rule="far"} 70.0',
        'millrace_rule_failed_entries{rule="far"} 1.0',
        'millrace_rule_oldest_age_seconds{rule="far"} 50.0',
        'millrace_rule_stalled_seconds{rule="far"} 20.0',
        'millrace_rule_paused{rule="far"} 0.0',
        'millrace_rule_paused{rule="blobs"} 1.0',
        'millrace_rule_copied_objects_total{rule="far"} 3.0',
        'millrace_rule_copied_bytes_total{rule="far"} 30.0',
        'millrace_rule_lag_seconds_bucket{le="0.1",rule="far"} 0.0',
        'millrace_rule_lag_seconds_bucket{le="0.25",rule="far"} 3.0',
        'millrace_rule_lag_seconds_sum{rule="far"} 0.6',
    ):
        assert line in text.splitlines(), line
