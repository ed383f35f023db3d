"""What the filesystem store promises beyond the port: durability, linking, and honest failures (I5)."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from controlplane.adapters.filesystem import FilesystemStore
from controlplane.adapters.filesystem.names import path_of
from controlplane.adapters.filesystem.store import MARKER
from controlplane.model.keys import Key, StoreName
from controlplane.ports.errors import Corrupt, NotFound, Rejected, StorageFull, Unavailable
from controlplane.ports.object_store import LocalFile
from tests.contract.object_store_suite import chunks, content_of, list_all, read_all
from tests.support.virtual_time import VirtualClock


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
async def store(root: Path, clock: VirtualClock) -> AsyncIterator[FilesystemStore]:
    store = FilesystemStore(StoreName("files"), root, clock=clock)
    await store.open()
    yield store
    await store.aclose()


def failing(code: int, real: Callable[..., Any], *, when: Callable[..., bool] = lambda *_: True) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        if when(*args):
            raise OSError(code, os.strerror(code))
        return real(*args, **kwargs)

    return call


def leftovers(root: Path) -> list[Path]:
    return [path for path in (root / "tmp").rglob("*") if path.is_file()]


@pytest.mark.parametrize("size", [10, 3_000_000])
@pytest.mark.parametrize(
    ("code", "expected"),
    [(errno.ENOSPC, StorageFull), (errno.EDQUOT, StorageFull), (errno.EIO, Unavailable), (errno.EROFS, Unavailable)],
)
@pytest.mark.parametrize("call", ["write", "fsync"])
async def test_a_failing_disk_is_said_and_nothing_is_left(
    store: FilesystemStore,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    code: int,
    expected: type[Exception],
    size: int,
) -> None:
    await store.put(Key("it"), b"old")
    with monkeypatch.context() as patch:
        patch.setattr(os, call, failing(code, getattr(os, call)))
        for key in ("it", "new"):
            with pytest.raises(Unavailable) as caught:
                await store.put(Key(key), chunks(b"x" * size, 100_000))
            assert type(caught.value) is expected
    assert await read_all(store, "it") == b"old"
    assert [info.key for info in await list_all(store)] == ["it"]
    assert leftovers(root) == []


async def test_a_streams_own_oserror_is_not_the_disks(store: FilesystemStore, root: Path) -> None:
    async def broken(first: bytes) -> AsyncIterator[bytes]:
        yield first
        raise FileExistsError("the client's")

    for first in (b"x", b"x" * 600_000):
        with pytest.raises(FileExistsError, match="the client's"):
            await store.put(Key("it"), broken(first))
    assert leftovers(root) == []


async def test_a_store_that_was_unmounted_is_unavailable_never_empty(store: FilesystemStore, root: Path) -> None:
    await store.put(Key("it"), b"x")
    shutil.move(root, root.with_name("elsewhere"))
    for _ in range(2):
        for operation in (
            store.get(Key("it")),
            store.head(Key("it")),
            store.delete(Key("it")),
            store.list(),
            store.check(),
            store.put(Key("new"), b"y"),
        ):
            with pytest.raises(Unavailable):
                await operation
        root.mkdir(exist_ok=True)  # the bare mount point
    root.rmdir()
    shutil.move(root.with_name("elsewhere"), root)
    assert await read_all(store, "it") == b"x"
    with pytest.raises(NotFound):
        await store.head(Key("absent"))


async def test_an_unreadable_object_is_not_missing(store: FilesystemStore, monkeypatch: pytest.MonkeyPatch) -> None:
    await store.put(Key("it"), b"x")
    monkeypatch.setattr(os, "open", failing(errno.EIO, os.open, when=lambda path, *_: str(path).endswith("/it")))
    for operation in (store.get(Key("it")), store.head(Key("it")), store.list()):
        with pytest.raises(Unavailable):
            await operation


async def test_a_torn_or_foreign_file_is_corrupt_and_still_listed(store: FilesystemStore, root: Path) -> None:
    await store.put(Key("torn"), b"0123456789")
    os.truncate(root / "objects" / "torn", 5)
    (root / "objects" / "foreign").write_bytes(b"from a backup without attributes")
    for key in ("torn", "foreign"):
        with pytest.raises(Corrupt):
            await store.head(Key(key))
        with pytest.raises(Corrupt):
            await store.get(Key(key))
    assert [(info.key, info.etag) for info in await list_all(store)] == [("foreign", ""), ("torn", "")]


async def test_a_file_that_shrinks_under_a_reader_never_looks_complete(store: FilesystemStore, root: Path) -> None:
    await store.put(Key("it"), b"x" * 1_000_000)
    reader = await store.get(Key("it"))
    os.truncate(root / "objects" / "it", 400_000)
    with pytest.raises(Unavailable):
        b"".join([chunk async for chunk in reader])
    await reader.aclose()


async def test_a_reader_keeps_the_object_that_it_opened(store: FilesystemStore) -> None:
    await store.put(Key("it"), b"old" * 1000)
    reader = await store.get(Key("it"))
    await store.put(Key("it"), b"new")
    await store.delete(Key("it"))
    assert b"".join([chunk async for chunk in reader]) == b"old" * 1000
    await reader.aclose()


async def test_a_verified_file_is_linked_and_not_read(
    store: FilesystemStore, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = os.urandom(5000)
    content = content_of(data)
    spool = tmp_path / "spool"
    spool.write_bytes(data)
    body = LocalFile(spool, len(data), verified=content)
    with monkeypatch.context() as patch:
        patch.setattr(os, "read", failing(errno.EIO, os.read, when=lambda fd, size: size > 4096))
        await store.put(Key("it"), body, content=content)
        await store.put(Key("it too"), body, content=content)
    assert os.stat(root / "objects" / "it").st_ino == os.stat(spool).st_ino
    assert spool.stat().st_nlink == 3
    # Other attributes need an inode of their own.
    await store.put(Key("typed"), body, content=content, content_type="text/plain")
    assert (await store.head(Key("typed"))).content_type == "text/plain"
    assert (await store.head(Key("it"))).content_type == "application/octet-stream"
    assert spool.stat().st_nlink == 3
    assert await read_all(store, "typed") == data


async def test_trust_is_only_for_the_same_digests_and_length(store: FilesystemStore, tmp_path: Path) -> None:
    (tmp_path / "spool").write_bytes(b"this")
    that = content_of(b"that")
    with pytest.raises(Corrupt):
        await store.put(Key("it"), LocalFile(tmp_path / "spool", 4, verified=content_of(b"this")), content=that)
    with pytest.raises(Corrupt):
        await store.put(Key("it"), LocalFile(tmp_path / "spool", 3))
    longer = content_of(b"this and more")
    with pytest.raises(Corrupt):
        await store.put(Key("it"), LocalFile(tmp_path / "spool", 13, verified=longer), content=longer)
    assert await list_all(store) == []


async def test_a_file_that_cannot_be_linked_is_copied(
    store: FilesystemStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = os.urandom(2_500_000)
    (tmp_path / "spool").write_bytes(data)
    monkeypatch.setattr(os, "link", failing(errno.EXDEV, os.link))
    await store.put(Key("it"), LocalFile(tmp_path / "spool", len(data)), content=content_of(data))
    assert (tmp_path / "spool").stat().st_nlink == 1
    assert await read_all(store, "it") == data


async def test_attributes_that_the_inode_cannot_hold_go_behind_the_bytes(store: FilesystemStore) -> None:
    metadata = {"long": "x" * 20_000}
    await store.put(Key("it"), b"short", metadata=metadata)
    info = await store.head(Key("it"))
    assert (dict(info.metadata), info.size) == (metadata, 5)
    assert await read_all(store, "it") == b"short"


async def test_every_step_is_synced_before_the_put_returns(
    store: FilesystemStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    real_fsync, real_rename = os.fsync, os.rename

    def fsync(fd: int) -> None:
        steps.append("fsync " + os.readlink(f"/proc/self/fd/{fd}").removeprefix(f"{root}/").split("/")[-1])
        real_fsync(fd)

    def rename(source: str, target: str) -> None:
        real_rename(source, target)
        steps.append("rename")

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "rename", rename)
    guid = content_of(b"it").md5
    await store.put(Key(f"blobs/{guid}"), b"it")
    temp, *others = steps
    assert temp.startswith("fsync ")
    assert others == ["rename", f"fsync ={guid[1:3]}", f"fsync ={guid[0]}", "fsync blobs+", "fsync objects"]
    steps.clear()
    await store.put(Key(f"blobs/{guid}"), b"it")
    assert steps[1:] == ["rename", f"fsync ={guid[1:3]}"]
    steps.clear()
    await store.delete(Key(f"blobs/{guid}"))
    assert steps == [f"fsync ={guid[1:3]}"]


async def test_directories_go_with_their_last_object_and_puts_that_race_succeed(
    store: FilesystemStore, root: Path
) -> None:
    async def cycle(name: str) -> None:
        for _ in range(20):
            await store.put(Key(f"deep/er/{name}"), b"x")
            await store.delete(Key(f"deep/er/{name}"))

    await asyncio.gather(*(cycle(str(n)) for n in range(4)))
    assert list((root / "objects").iterdir()) == []


async def test_what_a_dead_process_left_is_removed_and_what_a_live_one_writes_is_not(
    store: FilesystemStore, root: Path, clock: VirtualClock
) -> None:
    live = next((root / "tmp").iterdir())
    (live / "being-written").write_bytes(b"half")
    dead = root / "tmp" / "dead"
    dead.mkdir()
    (dead / "0").write_bytes(b"half")
    second = FilesystemStore(StoreName("second"), root, clock=clock)
    await second.open()
    assert not dead.exists()
    assert (live / "being-written").exists()
    await second.put(Key("it"), b"x")
    assert await read_all(store, "it") == b"x"
    await second.aclose()


async def test_it_refuses_a_directory_that_is_something_else(tmp_path: Path, clock: VirtualClock) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "passwd").write_text("")
    store = FilesystemStore(StoreName("wrong"), tmp_path / "etc", clock=clock)
    with pytest.raises(Rejected):
        await store.open()
    with pytest.raises(Unavailable):
        await store.put(Key("it"), b"x")
    await store.aclose()


async def test_objects_without_the_marker_are_not_taken_for_an_empty_store(tmp_path: Path, clock: VirtualClock) -> None:
    first = FilesystemStore(StoreName("first"), tmp_path, clock=clock)
    await first.open()
    await first.put(Key("it"), b"x")
    await first.aclose()
    (tmp_path / MARKER).unlink()
    second = FilesystemStore(StoreName("second"), tmp_path, clock=clock)
    with pytest.raises(Unavailable):
        await second.open()
    await second.aclose()


async def test_a_put_cancelled_while_it_syncs_leaves_nothing(
    store: FilesystemStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    real = os.fsync

    def cancel_then_sync(fd: int) -> None:
        done = asyncio.run_coroutine_threadsafe(cancelled(), loop)
        done.result(10)
        real(fd)

    async def cancelled() -> None:
        put.cancel()
        await asyncio.sleep(0)

    monkeypatch.setattr(os, "fsync", cancel_then_sync)
    put = asyncio.create_task(store.put(Key("it"), b"x"))
    with pytest.raises(asyncio.CancelledError):
        await put
    assert not (root / "objects" / path_of(Key("it"))).exists()
    assert leftovers(root) == []
