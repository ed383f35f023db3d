"""The journal's contract on every adapter."""

from __future__ import annotations

from pathlib import Path

import pytest

from controlplane.adapters.memory.journal import MemoryJournal
from controlplane.adapters.riak_kv import RiakJournal
from controlplane.adapters.sqlite.journal import SqliteJournal
from controlplane.adapters.system_clock import SystemClock
from controlplane.ports.journal import Journal
from tests.contract.journal_suite import JournalSuite, Make
from tests.support.riak_kv import RiakNode


class TestMemoryJournal(JournalSuite):
    @pytest.fixture
    def make(self) -> Make:
        async def make(limit: int) -> Journal:
            journal = MemoryJournal(limit)
            await journal.open()
            return journal

        return make


class TestSqliteJournal(JournalSuite):
    @pytest.fixture
    def make(self, tmp_path: Path) -> Make:
        async def make(limit: int) -> Journal:
            journal = SqliteJournal(tmp_path / "journal.db", limit=limit)
            await journal.open()
            return journal

        return make


class TestRiakJournal(JournalSuite):
    @pytest.fixture
    def make(self, riak: RiakNode) -> Make:
        async def make(limit: int) -> Journal:
            clock = SystemClock()
            kv = riak.over_http(clock)
            journal = RiakJournal(kv, cluster=riak.cluster(), node="n1", limit=limit, clock=clock)
            await journal.open()
            return journal

        return make


class TestRiakJournalByProtocolBuffers(JournalSuite):
    @pytest.fixture
    def make(self, riak_pb: RiakNode) -> Make:
        async def make(limit: int) -> Journal:
            clock = SystemClock()
            kv = riak_pb.over_pb(clock)
            journal = RiakJournal(kv, cluster=riak_pb.cluster(), node="n1", limit=limit, clock=clock)
            await journal.open()
            return journal

        return make
