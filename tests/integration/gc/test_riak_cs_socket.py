"""The collector through its socket: words of Riak CS in, states and errors out."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from controlplane.adapters.riak_cs_gc import RiakCsCollector, read_state
from controlplane.adapters.system_clock import SystemClock
from controlplane.ports.errors import Unavailable
from controlplane.ports.garbage_collector import CollectorState
from tests.support.riak_cs_socket import IDLE, RUNNING, STATUS, RiakCsSocket


@pytest.fixture
def riak_cs(tmp_path: Path) -> Iterator[RiakCsSocket]:
    with RiakCsSocket(tmp_path / "gc.sock") as served:
        yield served


@pytest.fixture
def collector(riak_cs: RiakCsSocket) -> RiakCsCollector:
    return RiakCsCollector(riak_cs.path, SystemClock())


@pytest.mark.parametrize(
    ("text", "state"),
    [
        (STATUS.format(first=IDLE, next="20261122T215353Z", interval="900"), CollectorState(False, True)),
        (STATUS.format(first=IDLE, next="undefined", interval="infinity (i.e. gc is disabled)"), (False, False)),
        (STATUS.format(first=RUNNING, next="undefined", interval="infinity (i.e. gc is disabled)"), (True, False)),
        (STATUS.format(first=RUNNING, next="20261122T215353Z", interval="900"), (True, True)),
        ("A garbage collection batch is finishing\nok\n", (True, False)),
    ],
)
def test_words_of_status(text: str, state: CollectorState | tuple[bool, bool]) -> None:
    found = read_state(text)
    assert (found.collecting, found.scheduled) == (state if isinstance(state, tuple) else (False, True))


@pytest.mark.parametrize("text", ["", "ok\n", "Node 'riak-cs@10.0.0.1' is not responding to pings\n", "error\n"])
def test_any_other_words_are_an_outage_and_no_state(text: str) -> None:
    with pytest.raises(Unavailable, match="does not tell"):
        read_state(text)


async def test_a_batch_is_started_seen_and_halted(riak_cs: RiakCsSocket, collector: RiakCsCollector) -> None:
    assert await collector.state(5) == CollectorState(False, False)
    await collector.start(5)
    await collector.start(5)
    assert await collector.state(5) == CollectorState(True, False)
    riak_cs.timer = True
    assert await collector.state(5) == CollectorState(True, True)
    await collector.halt(5)
    await collector.halt(5)
    assert await collector.state(5) == CollectorState(False, False)


async def test_the_other_side_is_told_by_when_it_must_have_ended(
    riak_cs: RiakCsSocket, collector: RiakCsCollector
) -> None:
    before = time.time()
    await collector.state(7)
    word, deadline = riak_cs.lines[0].split()
    assert word == "status"
    assert before + 6 <= int(deadline) <= time.time() + 8


async def test_other_words_than_expected_are_an_unknown_outcome(
    riak_cs: RiakCsSocket, collector: RiakCsCollector
) -> None:
    for riak_cs.answer in ("", "Node 'x' is not responding to pings\n", "Starting garbage collection batch failed:\n"):
        with pytest.raises(Unavailable, match="did not start"):
            await collector.start(5)
        with pytest.raises(Unavailable, match="did not halt"):
            await collector.halt(5)


async def test_silence_ends_in_time(riak_cs: RiakCsSocket, collector: RiakCsCollector) -> None:
    riak_cs.silent.set()
    began = time.monotonic()
    with pytest.raises(Unavailable, match="no answer within"):
        await collector.start(0.5)
    assert time.monotonic() - began < 20  # it would be silent for ever


async def test_no_socket_names_the_unit_to_look_at(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"millrace-riak-cs-gc\.socket"):
        await RiakCsCollector(tmp_path / "none", SystemClock()).state(5)
