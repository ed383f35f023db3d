"""What every Spool promises (ports.spool)."""

from __future__ import annotations

import asyncio
import hashlib
import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controlplane.model.content import Content, Md5, Sha256
from controlplane.ports.object_store import LocalFile
from controlplane.ports.spool import Spool, Spooled, SpoolWriter

NEAR = 100 * 1024
"""Bytes around which a spool under test changes from memory to disk, if it does."""

BATCH = 1 << 20


def identity(data: bytes) -> Content:
    md5 = Md5(hashlib.md5(data, usedforsecurity=False).hexdigest())
    return Content(md5, Sha256(hashlib.sha256(data).hexdigest()), len(data))


def body_of(spooled: Spooled) -> bytes:
    if isinstance(spooled.body, LocalFile):
        data = spooled.body.path.read_bytes()
        assert spooled.body.size == len(data)
        assert spooled.body.verified == spooled.content
        return data
    return spooled.body


def noise(size: int) -> bytes:
    return random.Random(size).randbytes(size)


async def fill(writer: SpoolWriter, data: bytes, size: int) -> None:
    """As bytes and as views of memory in turn."""
    for number, at in enumerate(range(0, len(data), size)):
        chunk = data[at : at + size]
        await writer.write(memoryview(chunk) if number % 2 else chunk)


class SpoolContract:
    """Subclasses give `spool` and `places` (the directories in which nothing may be left)."""

    @pytest.mark.parametrize(
        "size", [0, 1, NEAR - 1, NEAR, NEAR + 1, BATCH - 1, BATCH, BATCH + 1, 3 * BATCH + 17, 9 * BATCH]
    )
    @pytest.mark.parametrize("chunk", [1000, 65_536, 1 << 30])
    async def test_a_body_comes_out_as_it_went_in(self, spool: Spool, size: int, chunk: int, place: Path) -> None:
        data = noise(size)
        writer = spool.open(size)
        await fill(writer, data, chunk)
        spooled = await writer.finish()
        assert spooled.content == identity(data)
        assert body_of(spooled) == data
        spooled.discard()
        spooled.discard()
        assert list(place.iterdir()) == []

    @settings(
        max_examples=40,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )
    @given(st.lists(st.one_of(st.integers(1, 50), st.integers(1, 70_000)), max_size=12), st.booleans())
    async def test_digests_are_hashlibs_however_it_is_split(self, spool: Spool, sizes: list[int], known: bool) -> None:
        data = noise(sum(sizes))
        writer = spool.open(len(data) if known else None)
        at = 0
        for size in sizes:
            await writer.write(data[at : at + size])
            at += size
        spooled = await writer.finish()
        assert spooled.content == identity(data)
        assert body_of(spooled) == data
        spooled.discard()

    @pytest.mark.parametrize("size", [NEAR, 5 * BATCH])
    async def test_a_reader_follows_a_body_that_grows(self, spool: Spool, size: int) -> None:
        data = noise(size)
        writer = spool.open(size)
        ended = asyncio.Event()

        async def write() -> Spooled:
            await fill(writer, data, 50_000)
            spooled = await writer.finish()
            ended.set()
            return spooled

        writing = asyncio.ensure_future(write())
        got = b""
        while len(got) < size:
            piece = await writer.read(len(got), 60_000) if writer.written > len(got) else b""
            got += piece
            assert len(piece) <= 60_000
            if not piece:
                assert not ended.is_set() or writer.written > len(got)
                await asyncio.sleep(0)
        assert got == data
        (await writing).discard()

    async def test_many_bodies_at_once_do_not_mix(self, spool: Spool, place: Path) -> None:
        bodies = [noise(NEAR + 10_000 * n) for n in range(30)]

        async def through(data: bytes) -> Spooled:
            writer = spool.open(None)
            await fill(writer, data, 30_000)
            return await writer.finish()

        spooled = await asyncio.gather(*(through(data) for data in bodies))
        assert [one.content for one in spooled] == [identity(data) for data in bodies]
        for one, data in zip(spooled, bodies, strict=True):
            assert body_of(one) == data
            one.discard()
        assert list(place.iterdir()) == []
