"""The journal's contract on every adapter."""

from __future__ import annotations

from pathlib import Path

import pytest

from controlplane.adapters.memory.journal import MemoryJournal
from controlplane.adapters.sqlite.journal import SqliteJournal
from controlplane.ports.journal import Journal
from tests.contract.journal_suite import JournalSuite, Make


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
