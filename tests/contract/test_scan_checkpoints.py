"""Checkpoints are whole or not there, whatever is in the way."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from controlplane.adapters.etcd import EtcdDirectory, EtcdOptions
from controlplane.adapters.filesystem.documents import FileDocuments
from controlplane.adapters.memory.directory import InProcessDirectory
from controlplane.adapters.memory.documents import MemoryDocuments
from controlplane.adapters.system_clock import SystemClock
from controlplane.ports.errors import StorageFull, Unavailable
from controlplane.ports.scan_checkpoints import ScanCheckpoints
from controlplane.services.shared_documents import MOST_BYTES, SharedDocuments
from tests.support.etcd_cluster import EtcdCluster

DOCUMENT = {"ranges": [["é/\U0001f600", None, False]], "counts": {"same": 10**12}, "none": None}


@pytest.fixture(scope="module")
def etcd() -> Iterator[EtcdCluster]:
    with EtcdCluster(1) as cluster:
        yield cluster


@pytest.fixture(params=["memory", "files", "in-process directory", "etcd"])
async def checkpoints(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ScanCheckpoints]:
    match request.param:
        case "memory":
            yield MemoryDocuments()
        case "files":
            yield FileDocuments(tmp_path / "made" / "when needed")
        case "in-process directory":
            yield SharedDocuments(InProcessDirectory(SystemClock()), "scan")
        case _:
            cluster: EtcdCluster = request.getfixturevalue("etcd")
            directory = EtcdDirectory(EtcdOptions(cluster.urls), f"c{secrets.token_hex(4)}", SystemClock())
            yield SharedDocuments(directory, "scan")
            await directory.aclose()


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


async def test_changes_by_several_are_all_there(etcd: EtcdCluster) -> None:
    directory = EtcdDirectory(EtcdOptions(etcd.urls), "several", SystemClock())
    documents = SharedDocuments(directory, "scan")
    await documents.save("n", {"names": []})
    await asyncio.gather(
        *(
            documents.change("n", lambda known, name=name: {"names": [*(known or {"names": []})["names"], name]})
            for name in "abcd"
        )
    )
    found = await documents.load("n")
    assert found is not None
    assert sorted(found["names"]) == list("abcd")
    with pytest.raises(StorageFull, match="no more than"):
        await documents.save("n", {"x": "x" * MOST_BYTES})
    assert await documents.load("n") == found
    await directory.aclose()


async def test_a_damaged_value_in_the_directory_is_none_and_is_replaced() -> None:
    directory = InProcessDirectory(SystemClock())
    await directory.compare_and_swap("scan/a", None, "[1]")
    documents = SharedDocuments(directory, "scan")
    assert await documents.load("a") is None
    await documents.save("a", DOCUMENT)
    assert await documents.load("a") == DOCUMENT
