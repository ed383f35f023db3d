"""A body is proved before its last bytes go on: Riak CS, which commits when a body is whole, never gets a wrong one."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.s3.authentication import Payload, PayloadKind
from controlplane.s3.aws_chunked import ChunkDecoder
from controlplane.s3.body_checksums import BodyHasher, expected_of
from controlplane.s3.claim import UNDECLARED
from controlplane.s3.fault import Code, S3Fault
from controlplane.services.s3.intake import HashThreads, Intake


@pytest.fixture(scope="module")
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as made:
        yield made


async def chunks(data: bytes, size: int) -> AsyncIterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


def md5_header(data: bytes) -> tuple[bytes, bytes]:
    return b"content-md5", base64.b64encode(hashlib.md5(data).digest())


async def sent_on(intake: Intake) -> tuple[bytes, S3Fault | None]:
    """What the other side gets, and the fault that broke it off."""
    got: list[bytes] = []
    try:
        async for piece in intake.pieces():
            got.append(piece)  # noqa: PERF401 - what came before a fault counts
    except S3Fault as fault:
        return b"".join(got), fault
    return b"".join(got), None


@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=3000), size=st.integers(1, 700), wrong=st.booleans(), announced=st.integers(-3, 3))
async def test_the_whole_is_sent_only_when_everything_is_right(
    executor: ThreadPoolExecutor, data: bytes, size: int, wrong: bool, announced: int
) -> None:
    length = max(0, len(data) + announced)
    hasher = BodyHasher(expected_of([md5_header(data + b"x" if wrong else data)], UNDECLARED))
    intake = Intake(chunks(data, size), length, hasher, HashThreads(executor))
    got, fault = await sent_on(intake)
    if fault is None:
        assert not wrong
        assert length == len(data)
        assert got == data
        assert intake.hashed.md5 == hashlib.md5(data).hexdigest()
    else:
        assert wrong or length != len(data)
        assert len(got) < length or length == 0, "the other side has the whole body of a refused upload"
        assert data.startswith(got)


@pytest.mark.parametrize("size", [1000, 300_000])
async def test_large_bodies_are_hashed_beside_the_transfer_in_order(executor: ThreadPoolExecutor, size: int) -> None:
    data = bytes(range(256)) * 8000
    hasher = BodyHasher(expected_of([md5_header(data)], UNDECLARED))
    got, fault = await sent_on(Intake(chunks(data, size), len(data), hasher, HashThreads(executor)))
    assert fault is None
    assert got == data


async def test_what_must_be_decided_at_the_commit_is_decided_before_the_last_piece(
    executor: ThreadPoolExecutor,
) -> None:
    data = b"a" * 100
    seen: list[bytes] = []

    async def decide() -> None:
        seen.append(b"decided")
        raise S3Fault(Code.PRECONDITION_FAILED)

    intake = Intake(
        chunks(data, 30), 100, BodyHasher(expected_of([], UNDECLARED)), HashThreads(executor), before_last=decide
    )
    got, fault = await sent_on(intake)
    assert fault is not None
    assert fault.code is Code.PRECONDITION_FAILED
    assert seen == [b"decided"]
    assert got == b"a" * 90


async def test_an_empty_body_is_decided_too(executor: ThreadPoolExecutor) -> None:
    decided = 0

    async def decide() -> None:
        nonlocal decided
        decided += 1

    intake = Intake(
        chunks(b"", 1), 0, BodyHasher(expected_of([], UNDECLARED)), HashThreads(executor), before_last=decide
    )
    assert await sent_on(intake) == (b"", None)
    assert decided == 1


async def test_chunk_framing_is_taken_off_and_its_length_is_the_decoded_one(executor: ThreadPoolExecutor) -> None:
    payload = Payload(PayloadKind.UNSIGNED_CHUNKS_TRAILER)
    crc = base64.b64encode((0x3610A686).to_bytes(4, "big")).decode()
    body = f"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:{crc}\r\n\r\n".encode()
    fields = [(b"x-amz-trailer", b"x-amz-checksum-crc32"), (b"x-amz-decoded-content-length", b"5")]
    decoder = ChunkDecoder(payload, None, 5, frozenset({"x-amz-checksum-crc32"}))
    intake = Intake(chunks(body, 3), 5, BodyHasher(expected_of(fields, payload)), HashThreads(executor), decoder)
    assert await sent_on(intake) == (b"hello", None)
    assert intake.hashed.checksum is not None

    decoder = ChunkDecoder(payload, None, 5, frozenset({"x-amz-checksum-crc32"}))
    damaged = body.replace(b"hello", b"hallo")
    intake = Intake(chunks(damaged, 3), 5, BodyHasher(expected_of(fields, payload)), HashThreads(executor), decoder)
    got, fault = await sent_on(intake)
    assert fault is not None
    assert fault.code is Code.BAD_DIGEST
    assert len(got) < 5


async def test_what_the_client_does_wrong_reaches_the_caller(executor: ThreadPoolExecutor) -> None:
    class Gone(Exception):
        pass

    async def going() -> AsyncIterator[bytes]:
        yield b"a" * 10
        raise Gone

    intake = Intake(going(), 20, BodyHasher(expected_of([], UNDECLARED)), HashThreads(executor))
    with pytest.raises(Gone):
        [piece async for piece in intake.pieces()]


async def test_what_the_hashing_thread_meets_is_raised_and_nothing_waits_for_ever(
    executor: ThreadPoolExecutor,
) -> None:
    class Breaks(BodyHasher):
        def update(self, data: bytes) -> None:
            raise MemoryError("no more")

    data = bytes(4 << 20)
    hasher = Breaks(expected_of([], UNDECLARED))
    intake = Intake(chunks(data, 100_000), len(data), hasher, HashThreads(executor))
    with pytest.raises(MemoryError, match="no more"):
        async with asyncio.timeout(20):
            [piece async for piece in intake.pieces()]


@pytest.mark.parametrize(("others", "most"), [(0, 4 << 20), (9, 2 << 20), (63, 320 << 10), (1000, 256 << 10)])
async def test_the_transfer_is_never_far_ahead_of_the_hashing(others: int, most: int) -> None:
    """What is in memory is bounded, however slow the thread is and however many bodies come at once."""
    hashed = furthest = 0
    data = bytes(6 << 20)

    class Slow(BodyHasher):
        def update(self, data: bytes) -> None:
            nonlocal hashed
            time.sleep(0.002)
            super().update(data)
            hashed += len(data)

    with ThreadPoolExecutor(2) as pool:
        threads = HashThreads(pool)
        for _ in range(others):
            threads.begin()
        hasher = Slow(expected_of([md5_header(data)], UNDECLARED))
        intake = Intake(chunks(data, 64 * 1024), len(data), hasher, threads)
        sent = 0
        async for piece in intake.pieces():
            furthest = max(furthest, sent - hashed)
            sent += len(piece)
        for _ in range(others):
            threads.end()
        assert threads.ahead == 4 << 20  # nobody is left
    assert most / 2 < furthest <= most + 256 * 1024  # a batch that is not full, and the piece that is held back
    assert sent == len(data)
    assert intake.hashed.md5 == hashlib.md5(data).hexdigest()


async def test_every_body_gets_its_turn_of_few_threads() -> None:
    """One thread, six large bodies: none is finished before another one has begun."""
    data = bytes(8 << 20)
    finished: list[int] = []
    begun: set[int] = set()
    with ThreadPoolExecutor(1) as pool:
        threads = HashThreads(pool)

        async def send(number: int) -> None:
            hasher = BodyHasher(expected_of([md5_header(data)], UNDECLARED))
            intake = Intake(chunks(data, 128 * 1024), len(data), hasher, threads)
            sent = 0
            async for piece in intake.pieces():
                sent += len(piece)
                if sent > 5 << 20:  # more than may be ahead of the thread
                    begun.add(number)
            finished.append(number)
            assert len(begun) == 6

        await asyncio.gather(*(send(number) for number in range(6)))
    assert sorted(finished) == list(range(6))
