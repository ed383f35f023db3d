"""The ledger's contract on every adapter."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from controlplane.adapters.memory.upload_ledger import MemoryUploadLedger
from controlplane.adapters.sqlite.upload_ledger import SqliteUploadLedger
from controlplane.model.content import Content, Md5, Sha256
from controlplane.model.keys import Bucket, Key
from controlplane.ports.errors import Corrupt
from controlplane.ports.upload_ledger import Upload, UploadLedger

B, K = Bucket("photos"), Key("a/ü\n")
UPLOAD = Upload(
    "far", B, K, "id-1", "v", Content(Md5("0" * 32), Sha256("f" * 64), 1 << 40), 16 << 20,
    tuple(Md5(f"{number:032x}") for number in range(300)), 1.7e9,
)  # fmt: skip
Make = Callable[[], Awaitable[UploadLedger]]


@pytest.fixture(params=["memory", "sqlite"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    async def build() -> UploadLedger:
        if request.param == "memory":
            return MemoryUploadLedger()
        ledger = SqliteUploadLedger(tmp_path / "uploads.db")
        await ledger.open()
        return ledger

    return build


async def test_what_was_recorded_is_found_until_it_is_forgotten(make: Make) -> None:
    ledger = await make()
    assert await ledger.find("far", B, K) is None
    await ledger.record(replace(UPLOAD, upload_id=""))
    await ledger.record(UPLOAD)
    await ledger.record(replace(UPLOAD, rule="near", begun_at=1.0))
    assert await ledger.find("far", B, K) == UPLOAD
    assert await ledger.find("far", Bucket("other"), K) is None
    assert [upload.rule for upload in await ledger.all()] == ["near", "far"]
    await ledger.forget("far", B, K)
    await ledger.forget("far", B, K)
    assert await ledger.find("far", B, K) is None
    assert [upload.rule for upload in await ledger.all()] == ["near"]
    await ledger.aclose()


async def test_it_is_found_again_after_a_restart(tmp_path: Path) -> None:
    for _ in range(2):
        ledger = SqliteUploadLedger(tmp_path / "uploads.db")
        await ledger.open()
        await ledger.record(UPLOAD)
        await ledger.aclose()
    ledger = SqliteUploadLedger(tmp_path / "uploads.db")
    await ledger.open()
    assert list(await ledger.all()) == [UPLOAD]
    await ledger.aclose()


async def test_a_damaged_file_is_refused_and_its_message_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "uploads.db").write_bytes(b"x" * 9000)
    with pytest.raises(Corrupt, match="delete the file"):
        await SqliteUploadLedger(tmp_path / "uploads.db").open()
