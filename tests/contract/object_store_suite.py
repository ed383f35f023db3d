"""What every ObjectStore promises. Each adapter's tests subclass ObjectStoreContract and give it a `store` fixture."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import ClassVar

import pytest

from controlplane.model.content import Content, Md5, Sha256
from controlplane.model.keys import Key
from controlplane.ports.errors import Conflict, Corrupt, NotFound, Rejected
from controlplane.ports.object_store import Body, ByteRange, LocalFile, ObjectInfo, ObjectStore

OTHER_MD5 = Md5("0" * 32)
OTHER_SHA256 = Sha256("0" * 64)


class StreamBroke(Exception):
    """What the tests' streams raise: a client that went away."""


def content_of(data: bytes) -> Content:
    return Content(Md5(hashlib.md5(data).hexdigest()), Sha256(hashlib.sha256(data).hexdigest()), len(data))


async def chunks(data: bytes, size: int = 1000) -> AsyncIterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]
        await asyncio.sleep(0)


async def broken_stream(data: bytes) -> AsyncIterator[bytes]:
    yield data
    raise StreamBroke


async def stuck_stream(data: bytes, taken: asyncio.Event) -> AsyncIterator[bytes]:
    """Yield `data`, say by `taken` that it was consumed, and never end."""
    yield data
    taken.set()
    await asyncio.Event().wait()


def body_of(kind: str, data: bytes, folder: Path) -> Body:
    if kind == "bytes":
        return data
    if kind == "file":
        (folder / "body").unlink(missing_ok=True)  # a store may have linked it: its bytes must stay
        (folder / "body").write_bytes(data)
        return LocalFile(folder / "body", len(data))
    return chunks(data)


async def read_all(store: ObjectStore, key: str, byte_range: ByteRange | None = None) -> bytes:
    """The bytes, read by iteration; where the reader offers a file, that must hold the same."""
    reader = await store.get(Key(key), byte_range=byte_range)
    try:
        data = b"".join([chunk async for chunk in reader])
        assert len(data) == reader.length
        if reader.file is not None:
            fd, offset = reader.file
            assert os.pread(fd, reader.length, offset) == data
        return data
    finally:
        await reader.aclose()


async def list_all(
    store: ObjectStore, *, prefix: str = "", after: str | None = None, limit: int = 1000
) -> list[ObjectInfo]:
    """Every page of a listing; fails when the listing does not move on."""
    found: list[ObjectInfo] = []
    position = None if after is None else Key(after)
    while True:
        page = await store.list(prefix=prefix, after=position, limit=limit)
        assert len(page.objects) <= limit
        found += page.objects
        if page.next_after is None:
            return found
        assert position is None or page.next_after.encode() > position.encode()
        position = page.next_after


def in_order(keys: Sequence[str]) -> list[str]:
    return sorted(keys, key=lambda key: key.encode())


class ObjectStoreContract:
    """Subclass it as Test..., override `store` with a fixture that yields an empty store and closes it."""

    large_bytes: ClassVar[int] = 20 * 1024 * 1024
    """Of the object that must take many chunks, and several parts where the store has parts."""
    longest_key_bytes: ClassVar[int] = 1024
    absent: ClassVar[tuple[str, ...]] = ("absent", "there", "there/", "there/too/deep")
    """Keys that are not there beside "there/too"."""
    atomic_if_absent: ClassVar[bool] = True
    """False for a store that can only look before it writes: then racing writers are not tested."""
    compares: ClassVar[bool] = True
    """False for a store that ignores if_match."""
    compares_large: ClassVar[bool] = True
    """False where it compares only what comes in one request."""
    compares_deletes: ClassVar[bool] = True
    atomic_if_match: ClassVar[bool] = True
    """False for a server that looks first and writes then."""
    odd_keys: ClassVar[Sequence[str]] = (
        "a",
        "a/b",
        "a/b/c",
        "a b",
        "a+b",
        "a%2Fb",
        "a%",
        "a~b",
        "a!*'();:@&=$,?#[]",
        "é",
        "e\u0301",
        "\uff5e",
        "\U0001f600",
        'q"<&>',
        "CASE",
        "case",
    )
    """Each stands for itself, never for another; \\uff5e sorts before \\U0001f600 in UTF-8 but not in UTF-16."""
    path_like_keys: ClassVar[Sequence[str]] = ("d//e", "d/./e", "d/../e", "d/..", "d/", ".hidden", "..")
    """Keys that a path would normalise. Override only with what the technology itself cannot carry, and say why."""

    @pytest.fixture
    async def store(self) -> ObjectStore:
        raise NotImplementedError("override `store`")

    async def test_it_has_a_name_and_a_bucket_and_answers_a_check(self, store: ObjectStore) -> None:
        await store.check()
        assert store.name
        assert store.bucket

    @pytest.mark.parametrize("kind", ["bytes", "file", "stream", "stream of known size"])
    async def test_a_body_of_any_kind_comes_back_as_it_was(self, store: ObjectStore, tmp_path: Path, kind: str) -> None:
        data = os.urandom(10_001)
        size = len(data) if kind == "stream of known size" else None
        info = await store.put(Key("it"), body_of(kind, data, tmp_path), size=size)
        assert (info.key, info.size, info.etag) == ("it", len(data), content_of(data).md5)
        assert await read_all(store, "it") == data
        head = await store.head(Key("it"))
        assert (head.key, head.size, head.etag) == ("it", len(data), info.etag)

    @pytest.mark.parametrize("verified", [False, True])
    async def test_a_file_stays_its_owners_and_the_object_does_not_need_it(
        self, store: ObjectStore, tmp_path: Path, verified: bool
    ) -> None:
        data = os.urandom(5_000)
        path = tmp_path / "spool"
        path.write_bytes(data)
        content = content_of(data)
        body = LocalFile(path, len(data), verified=content if verified else None)
        await store.put(Key("it"), body, content=content)
        assert path.read_bytes() == data
        path.unlink()
        assert await read_all(store, "it") == data
        assert (await store.head(Key("it"))).content == content

    async def test_what_is_kept_beside_the_object_comes_back(self, store: ObjectStore) -> None:
        data = b"some text"
        content = content_of(data)
        metadata = {"colour": "dark green; 50% grey", "number": "7"}
        put = await store.put(
            Key("it"), data, content=content, content_type="text/plain; charset=utf-8", metadata=metadata
        )
        reader = await store.get(Key("it"))
        await reader.aclose()
        for info in (put, await store.head(Key("it")), reader.info):
            assert info.content == content
            assert info.content_type == "text/plain; charset=utf-8"
            assert dict(info.metadata) == metadata
            assert info.size == len(data)
            assert info.etag == content.md5
            assert info.modified_at > 0

    async def test_an_object_without_extras_has_none(self, store: ObjectStore) -> None:
        await store.put(Key("it"), b"x", content_type="text/x-old", metadata={"old": "1"}, content=content_of(b"x"))
        await store.put(Key("it"), b"y")
        info = await store.head(Key("it"))
        assert info.content_type == "application/octet-stream"
        assert dict(info.metadata) == {}
        assert info.content is None or info.content == content_of(b"y")

    async def test_a_put_replaces_what_was_there(self, store: ObjectStore) -> None:
        await store.put(Key("it"), b"first, and longer")
        await store.put(Key("it"), b"second")
        assert await read_all(store, "it") == b"second"
        assert [info.size for info in await list_all(store)] == [6]

    async def test_an_empty_object_is_an_object(self, store: ObjectStore) -> None:
        empty = content_of(b"")
        await store.put(Key("bytes"), b"", content=empty)
        await store.put(Key("stream"), chunks(b""), content=empty)
        for key in ("bytes", "stream"):
            assert await read_all(store, key) == b""
            info = await store.head(Key(key))
            assert (info.size, info.etag, info.content) == (0, empty.md5, empty)
            with pytest.raises(Rejected):
                await store.get(Key(key), byte_range=ByteRange(0, 0))

    async def test_a_large_object_passes_in_many_chunks(self, store: ObjectStore) -> None:
        data = os.urandom(self.large_bytes)
        content = content_of(data)
        put = await store.put(Key("large"), chunks(data, 300_001), content=content)
        assert (put.size, put.content) == (len(data), content)
        assert await read_all(store, "large") == data
        middle = ByteRange(len(data) // 2 - 5, len(data) // 2 + 100_000)
        assert await read_all(store, "large", middle) == data[middle.first : middle.last + 1]
        head = await store.head(Key("large"))
        assert (head.size, head.content, head.etag) == (len(data), content, put.etag)

    async def test_a_large_body_that_is_wrong_leaves_nothing(self, store: ObjectStore) -> None:
        data = os.urandom(self.large_bytes)
        right = content_of(data)
        with pytest.raises(Corrupt):
            await store.put(Key("large"), chunks(data, 300_001), content=Content(right.md5, OTHER_SHA256, right.size))
        assert await list_all(store) == []

    @pytest.mark.parametrize("claimed", [999, 1001])
    async def test_a_stream_of_another_size_is_corrupt_and_leaves_nothing(
        self, store: ObjectStore, claimed: int
    ) -> None:
        with pytest.raises(Corrupt):
            await store.put(Key("it"), chunks(b"x" * 1000, 100), size=claimed)
        with pytest.raises(NotFound):
            await store.head(Key("it"))

    @pytest.mark.parametrize("kind", ["bytes", "file", "stream", "stream of known size"])
    @pytest.mark.parametrize("wrong", ["md5", "sha256", "size"])
    async def test_a_body_of_another_content_is_corrupt_and_what_was_there_stays(
        self, store: ObjectStore, tmp_path: Path, kind: str, wrong: str
    ) -> None:
        data = b"y" * 3000
        right = content_of(data)
        content = {
            "md5": Content(OTHER_MD5, right.sha256, right.size),
            "sha256": Content(right.md5, OTHER_SHA256, right.size),
            "size": Content(right.md5, right.sha256, right.size + 1),
        }[wrong]
        size = len(data) if kind == "stream of known size" else None
        await store.put(Key("old"), b"old")
        for key in ("old", "new"):
            with pytest.raises(Corrupt):
                await store.put(Key(key), body_of(kind, data, tmp_path), size=size, content=content)
        assert await read_all(store, "old") == b"old"
        assert [info.key for info in await list_all(store)] == ["old"]

    async def test_if_absent_writes_once(self, store: ObjectStore, tmp_path: Path) -> None:
        await store.put(Key("it"), b"first", if_absent=True)
        (tmp_path / "body").write_bytes(b"third")
        for body in (b"second", chunks(b"second"), LocalFile(tmp_path / "body", 5)):
            with pytest.raises(Conflict):
                await store.put(Key("it"), body, if_absent=True)
        assert await read_all(store, "it") == b"first"
        await store.delete(Key("it"))
        await store.put(Key("it"), b"fourth", if_absent=True)
        assert await read_all(store, "it") == b"fourth"

    async def test_of_writers_that_race_with_if_absent_one_wins(self, store: ObjectStore) -> None:
        bodies = [bytes([n]) * 2000 for n in range(4)]
        outcomes = await asyncio.gather(
            *(store.put(Key("it"), chunks(body, 500), if_absent=True) for body in bodies), return_exceptions=True
        )
        won = [body for body, outcome in zip(bodies, outcomes, strict=True) if isinstance(outcome, ObjectInfo)]
        lost = [outcome for outcome in outcomes if isinstance(outcome, Conflict)]
        assert len(won) + len(lost) == len(bodies)
        assert await read_all(store, "it") in won
        if self.atomic_if_absent:
            assert len(won) == 1

    @pytest.mark.parametrize("kind", ["bytes", "file", "stream"])
    async def test_if_match_replaces_that_object_and_no_other(
        self, store: ObjectStore, tmp_path: Path, kind: str
    ) -> None:
        first = await store.put(Key("it"), b"first")
        second = await store.put(Key("it"), body_of(kind, b"second", tmp_path), if_match=first.etag)
        assert (await store.head(Key("it"))).etag == second.etag
        if not self.compares:
            return
        for key, etag in (("it", first.etag), ("never", first.etag)):
            with pytest.raises(Conflict):
                await store.put(Key(key), body_of(kind, b"third", tmp_path), if_match=etag)
        assert await read_all(store, "it") == b"second"
        assert [info.key for info in await list_all(store)] == ["it"]

    async def test_a_large_body_that_comes_too_late_replaces_nothing(self, store: ObjectStore) -> None:
        first = await store.put(Key("it"), b"first")
        large = bytes(self.large_bytes)
        if not self.compares_large:
            return
        with pytest.raises(Conflict):
            await store.put(Key("it"), chunks(large, 1 << 20), size=len(large), if_match=OTHER_MD5)
        assert await read_all(store, "it") == b"first"
        put = await store.put(Key("it"), chunks(large, 1 << 20), size=len(large), if_match=first.etag)
        assert (await store.head(Key("it"))).etag == put.etag != first.etag

    async def test_of_writers_that_race_with_if_match_one_wins(self, store: ObjectStore) -> None:
        first = await store.put(Key("it"), b"first")
        bodies = [bytes([n]) * 2000 for n in range(4)]
        outcomes = await asyncio.gather(
            *(store.put(Key("it"), chunks(body, 500), if_match=first.etag) for body in bodies), return_exceptions=True
        )
        won = [body for body, outcome in zip(bodies, outcomes, strict=True) if isinstance(outcome, ObjectInfo)]
        assert len(won) + sum(isinstance(outcome, Conflict) for outcome in outcomes) == len(bodies)
        assert await read_all(store, "it") in won
        if self.atomic_if_match:
            assert len(won) == 1

    async def test_if_match_deletes_that_object_and_no_other(self, store: ObjectStore) -> None:
        first = await store.put(Key("it"), b"first")
        second = await store.put(Key("it"), b"second")
        if self.compares_deletes:
            with pytest.raises(Conflict):
                await store.delete(Key("it"), if_match=first.etag)
            assert await read_all(store, "it") == b"second"
        await store.delete(Key("it"), if_match=second.etag)
        await store.delete(Key("it"), if_match=second.etag)
        with pytest.raises(NotFound):
            await store.head(Key("it"))

    async def test_writers_of_one_key_at_once_leave_one_whole_object(self, store: ObjectStore) -> None:
        bodies = [bytes([n]) * (60_000 + n) for n in range(4)]
        await asyncio.gather(*(store.put(Key("it"), chunks(body, 10_000), content=content_of(body)) for body in bodies))
        left = await read_all(store, "it")
        assert left in bodies
        info = await store.head(Key("it"))
        assert (info.size, info.etag, info.content) == (len(left), content_of(left).md5, content_of(left))
        assert len(await list_all(store)) == 1

    @pytest.mark.parametrize(
        ("first", "last"), [(0, 0), (0, 99), (100, 299), (9_999, 9_999), (9_000, 9_999), (0, 9_999)]
    )
    async def test_a_range_is_those_bytes_and_no_others(self, store: ObjectStore, first: int, last: int) -> None:
        data = os.urandom(10_000)
        await store.put(Key("it"), data)
        byte_range = ByteRange(first, last)
        assert await read_all(store, "it", byte_range) == data[first : last + 1]
        reader = await store.get(Key("it"), byte_range=byte_range)
        await reader.aclose()
        assert (reader.length, reader.info.size) == (byte_range.length, 10_000)

    @pytest.mark.parametrize(("first", "last"), [(10, 10), (10, 20), (9, 10), (0, 10)])
    async def test_a_range_that_leaves_the_object_is_rejected(self, store: ObjectStore, first: int, last: int) -> None:
        await store.put(Key("it"), b"0123456789")
        with pytest.raises(Rejected):
            await store.get(Key("it"), byte_range=ByteRange(first, last))

    async def test_what_is_not_there_is_not_found(self, store: ObjectStore) -> None:
        await store.put(Key("there/too"), b"x")
        for key in self.absent:
            with pytest.raises(NotFound):
                await store.head(Key(key))
            with pytest.raises(NotFound):
                await store.get(Key(key))
            with pytest.raises(NotFound):
                await store.get(Key(key), byte_range=ByteRange(0, 0))

    async def test_delete_removes_that_object_only_and_may_be_repeated(self, store: ObjectStore) -> None:
        for key in ("d", "d/e", "d/e/f", "other"):
            await store.put(Key(key), b"x")
        await store.delete(Key("d/e"))
        await store.delete(Key("d/e"))
        await store.delete(Key("never/there"))
        with pytest.raises(NotFound):
            await store.head(Key("d/e"))
        assert [info.key for info in await list_all(store)] == ["d", "d/e/f", "other"]
        await store.put(Key("d/e"), b"again")
        assert await read_all(store, "d/e") == b"again"

    async def test_a_stream_that_raises_leaves_nothing_and_its_error_passes(self, store: ObjectStore) -> None:
        await store.put(Key("old"), b"old")
        for key in ("new", "old"):
            for size in (None, 5_000):
                with pytest.raises(StreamBroke):
                    await store.put(Key(key), broken_stream(b"x" * 2_000), size=size)
        assert await read_all(store, "old") == b"old"
        assert [info.key for info in await list_all(store)] == ["old"]

    async def test_a_cancelled_put_leaves_nothing(self, store: ObjectStore) -> None:
        await store.put(Key("old"), b"old")
        for key in ("new", "old"):
            taken = asyncio.Event()
            put = asyncio.create_task(store.put(Key(key), stuck_stream(b"x" * 2_000, taken), size=5_000))
            await taken.wait()
            put.cancel()
            with pytest.raises(asyncio.CancelledError):
                await put
        assert await read_all(store, "old") == b"old"
        assert [info.key for info in await list_all(store)] == ["old"]

    async def test_a_reader_may_be_closed_early_and_twice(self, store: ObjectStore) -> None:
        data = os.urandom(1_000_000)
        await store.put(Key("it"), data)
        for _ in range(3):
            reader = await store.get(Key("it"))
            first = await anext(aiter(reader))
            assert data.startswith(first)
            await reader.aclose()
            await reader.aclose()
        unread = await store.get(Key("it"))
        await unread.aclose()
        assert await read_all(store, "it") == data

    async def test_readers_do_not_disturb_each_other(self, store: ObjectStore) -> None:
        data = os.urandom(300_000)
        await store.put(Key("it"), data)
        assert await asyncio.gather(*(read_all(store, "it") for _ in range(4))) == [data] * 4

    async def test_odd_keys_stand_for_themselves_and_list_in_order_of_their_bytes(self, store: ObjectStore) -> None:
        for key in self.odd_keys:
            await store.put(Key(key), key.encode())
        for key in self.odd_keys:
            assert await read_all(store, key) == key.encode()
            assert (await store.head(Key(key))).key == key
        assert [info.key for info in await list_all(store)] == in_order(self.odd_keys)
        for key in self.odd_keys:
            expected = [other for other in in_order(self.odd_keys) if other.encode() > key.encode()]
            assert [info.key for info in await list_all(store, after=key)] == expected

    async def test_keys_that_look_like_paths_are_only_keys(self, store: ObjectStore) -> None:
        for key in self.path_like_keys:
            await store.put(Key(key), key.encode())
        for key in self.path_like_keys:
            assert await read_all(store, key) == key.encode()
        assert [info.key for info in await list_all(store)] == in_order(self.path_like_keys)
        for key in self.path_like_keys:
            await store.delete(Key(key))
        assert await list_all(store) == []

    async def test_the_longest_key_is_a_key(self, store: ObjectStore) -> None:
        flat = Key("k" * self.longest_key_bytes)
        deep = Key(("p/" * self.longest_key_bytes)[: self.longest_key_bytes - 1] + "q")
        wide = Key("é" * (self.longest_key_bytes // 2))
        for key in (flat, deep, wide):
            await store.put(key, b"x")
            assert await read_all(store, key) == b"x"
        assert [info.key for info in await list_all(store)] == in_order([flat, deep, wide])

    async def test_pages_follow_each_other_without_gap_or_repeat(self, store: ObjectStore) -> None:
        keys = ["a", "a/1", "a/2", "a/2/x", "a0", "b/1", "b/2/y", "c"]
        for key in keys:
            await store.put(Key(key), key.encode())
        for limit in (1, 2, 3, len(keys), len(keys) + 1):
            found = await list_all(store, limit=limit)
            assert [info.key for info in found] == in_order(keys)
        page = await store.list(limit=3)
        assert len(page.objects) == 3
        assert page.next_after is not None
        first = page.objects[1]
        assert (first.size, first.etag) == (3, content_of(b"a/1").md5)
        assert first.modified_at > 0
        assert first.content is None
        assert dict(first.metadata) == {}

    async def test_a_listing_resumes_after_any_key_there_or_not(self, store: ObjectStore) -> None:
        keys = in_order(["a", "a/1", "a/2", "a0", "b/1", "b/1/x", "c"])
        for key in keys:
            await store.put(Key(key), b"x")
        for after in ("A", "a", "a/", "a/1", "a/15", "a/9", "a/1/z", "a0", "aa", "b", "b/1", "b/1/", "b0", "c", "d"):
            expected = [key for key in keys if key.encode() > after.encode()]
            for limit in (2, 1000):
                assert [info.key for info in await list_all(store, after=after, limit=limit)] == expected, after

    async def test_a_prefix_keeps_to_keys_that_begin_with_it(self, store: ObjectStore) -> None:
        keys = in_order(["a", "a/1", "a/12", "a/2/x", "ab/1", "b", "b%/1"])
        for key in keys:
            await store.put(Key(key), b"x")
        for prefix in ("", "a", "a/", "a/1", "a/2/", "a/2/x", "a/2/x/", "ab", "b", "b%", "z"):
            expected = [key for key in keys if key.startswith(prefix)]
            for limit in (1, 1000):
                assert [info.key for info in await list_all(store, prefix=prefix, limit=limit)] == expected, prefix
            for after in ("a", "a/1", "a/15", "b", "z"):
                rest = [key for key in expected if key.encode() > after.encode()]
                assert [info.key for info in await list_all(store, prefix=prefix, after=after)] == rest, (prefix, after)

    async def test_an_empty_store_lists_nothing(self, store: ObjectStore) -> None:
        page = await store.list()
        assert page.objects == ()
        assert page.next_after is None
