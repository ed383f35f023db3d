"""Checkpoints are whole or not there, whatever is in the way."""

from __future__ import annotations

from pathlib import Path

import pytest

from controlplane.adapters.filesystem.documents import FileDocuments
from controlplane.adapters.memory.documents import MemoryDocuments
from controlplane.ports.errors import Unavailable
from controlplane.ports.scan_checkpoints import ScanCheckpoints

DOCUMENT = {"ranges": [["é/\U0001f600", None, False]], "counts": {"same": 10**12}, "none": None}


@pytest.fixture(params=["memory", "files"])
def checkpoints(request: pytest.FixtureRequest, tmp_path: Path) -> ScanCheckpoints:
    return MemoryDocuments() if request.param == "memory" else FileDocuments(tmp_path / "made" / "when needed")


async def test_a_document_comes_back_until_it_is_replaced_or_removed(checkpoints: ScanCheckpoints) -> None:
    assert await checkpoints.load("a") is None
    await checkpoints.remove("a")
    await checkpoints.save("a", DOCUMENT)
    await checkpoints.save("b", {"other": 1})
    assert await checkpoints.load("a") == DOCUMENT
    await checkpoints.save("a", {"new": True})
    assert await checkpoints.load("a") == {"new": True}
    await checkpoints.remove("a")
    assert await checkpoints.load("a") is None
    assert await checkpoints.load("b") == {"other": 1}


@pytest.mark.parametrize("text", ["", "{", "[1]", "\x00\x00"])
async def test_a_damaged_file_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    documents = FileDocuments(tmp_path)
    assert await documents.load("a") is None
    await documents.save("a", DOCUMENT)
    assert await documents.load("a") == DOCUMENT
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


async def test_a_directory_that_cannot_be_written_is_told_and_the_old_document_stays(tmp_path: Path) -> None:
    (tmp_path / "a.json").mkdir()
    with pytest.raises(Unavailable, match=r"a\.json"):
        await FileDocuments(tmp_path).save("a", DOCUMENT)
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
