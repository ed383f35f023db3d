"""Estimates: the arithmetic of a cluster's size, and when it says that the design bends."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.model.scale import Load, Measured, Shards, estimate

LOAD = Load(
    objects=1_000_000, nodes=4, scan_days=2, page_s=0.1, page=1000, scan_workers=10, scan_nodes=1, writes_s=100,
    outage_s=3600, journal_limit=1_000_000, disk_bytes=10**12, list_price=0.005,
)  # fmt: skip
MEASURED = Measured(scan_keys_s=250_000, catalog_row_bytes=200, journal_entry_bytes=250, plan_s=0.001)
SHARDS = Shards(
    working=4, most=70, moved=70, needless=0, longest_unowned_s=9, requests_s=8, bytes_s=1e5, writes_after_loss=70
)


def test_the_figures_of_a_small_cluster() -> None:
    found = estimate(LOAD, MEASURED, SHARDS)
    assert found.pages_day == 500
    assert found.list_cost_day == pytest.approx(0.0025)
    assert found.scan_cpu_days * 86_400 == pytest.approx(4)
    assert found.scan_wait_days * 86_400 == pytest.approx(10)
    assert (found.catalog_bytes, found.catalog_bytes_node) == (200_000_000, 50_000_000)
    assert (found.backlog, found.backlog_bytes_node) == (360_000, 22_500_000)
    assert found.fits_outage_s == 40_000
    assert found.bends == ()


@pytest.mark.parametrize(
    ("load", "measured", "shards", "said"),
    [
        ({"nodes": 300}, {}, {"working": 170}, "130 of 300 agents own none"),
        ({}, {}, {"most": 140}, "2.2 times the mean"),
        ({}, {}, {"bytes_s": 50e6}, "50 MB/s"),
        ({"objects": 10**11}, {}, {}, "days of listing"),
        ({"objects": 10**10, "page_s": 0.001}, {"scan_keys_s": 1000.0}, {}, "days of comparing"),
        ({"objects": 10**11, "scan_days": 365.0}, {}, {}, "20,000 GB"),
        ({"scan_nodes": 100}, {}, {}, "100 nodes scan together"),
        ({"outage_s": 50_000}, {}, {}, "full after 11.1 hours"),
        ({}, {"plan_s": 0.5}, {}, "0.5 s of CPU"),
    ],
)
def test_what_is_beyond_the_design_is_said(
    load: dict[str, float], measured: dict[str, float], shards: dict[str, float], said: str
) -> None:
    found = estimate(replace(LOAD, **load), replace(MEASURED, **measured), replace(SHARDS, **shards))  # type: ignore[arg-type]
    assert any(said in bend.what and bend.then for bend in found.bends), found.bends


def test_nodes_that_share_a_scan_divide_its_time_and_not_its_cost() -> None:
    alone, shared = estimate(LOAD, MEASURED, SHARDS), estimate(replace(LOAD, scan_nodes=4), MEASURED, SHARDS)
    assert shared.scan_wait_days == pytest.approx(alone.scan_wait_days / 4)
    assert (shared.pages_day, shared.scan_cpu_days) == (alone.pages_day, alone.scan_cpu_days)
    too_slow = replace(LOAD, objects=10**11, disk_bytes=10**15)
    assert any("days of listing" in bend.what for bend in estimate(too_slow, MEASURED, SHARDS).bends)
    assert not estimate(replace(too_slow, scan_nodes=40), MEASURED, SHARDS).bends


def test_who_writes_nothing_never_fills_a_journal() -> None:
    assert estimate(replace(LOAD, writes_s=0), MEASURED, SHARDS).fits_outage_s == float("inf")


@given(st.integers(1, 10**12), st.integers(2, 100))
def test_costs_grow_with_the_objects(objects: int, times: int) -> None:
    one = estimate(replace(LOAD, objects=objects), MEASURED, SHARDS)
    more = estimate(replace(LOAD, objects=objects * times), MEASURED, SHARDS)
    for name in ("pages_day", "list_cost_day", "scan_cpu_days", "scan_wait_days", "catalog_bytes"):
        assert getattr(more, name) == pytest.approx(times * getattr(one, name))
