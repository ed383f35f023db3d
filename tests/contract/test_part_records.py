"""Records of parts over memory: every gateway sees what another one kept."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.adapters.memory.object_store import MemoryObjectStore
from controlplane.model.keys import Key, StoreName
from controlplane.ports.errors import Unavailable
from controlplane.s3.body_checksums import HashedBody
from controlplane.s3.checksums import Algorithm, Checksum, ChecksumType
from controlplane.s3.multipart_checksums import Kind, PartSum
from controlplane.services.s3.part_records import PartRecords
from tests.contract.subresource_suite import SetClock

KIND = Kind(Algorithm.SHA256, ChecksumType.COMPOSITE)


@pytest.fixture
def store() -> MemoryObjectStore:
    return MemoryObjectStore(StoreName("documents"), clock=SetClock())


def part(byte: int, size: int = 5, algorithm: Algorithm = Algorithm.SHA256) -> HashedBody:
    return HashedBody(size, bytes([byte] * 16).hex(), Checksum(algorithm, bytes([byte] * algorithm.size)))


async def test_what_one_gateway_keeps_another_one_reads(store: MemoryObjectStore) -> None:
    one, other = PartRecords(store), PartRecords(store)
    await one.begin("b", "upload/1", KIND)
    await one.stored("b", "upload/1", 1, part(1))
    await other.stored("b", "upload/1", 1, part(2))  # sent again: the ETag says which counts
    await other.stored("b", "upload/1", 10_000, part(3, size=0))
    await other.stored("b", "upload/1", 2, HashedBody(5, "00" * 16, None))
    await one.stored("b", "upload/2", 1, part(4))
    found = await one.of("b", "upload/1")
    assert (found.kind, await other.kind("b", "upload/1")) == (KIND, KIND)
    assert set(found.parts) == {(1, "01" * 16), (1, "02" * 16), (10_000, "03" * 16)}
    assert found.parts[1, "02" * 16] == (PartSum(Checksum(Algorithm.SHA256, b"\x02" * 32), 5),)
    await one.forget("b", "upload/1")
    await one.forget("b", "upload/1")
    assert not (await other.of("b", "upload/1")).parts
    assert (await other.of("b", "upload/2")).parts
    await one.forget_bucket("b")
    assert not (await store.list()).objects


async def test_a_part_has_the_checksum_of_the_algorithm_that_the_upload_asked_for(store: MemoryObjectStore) -> None:
    records = PartRecords(store)
    await records.stored("b", "u", 1, part(1, algorithm=Algorithm.CRC32))
    await records.stored("b", "u", 1, part(1))
    assert (await records.of("b", "u")).checksum(1, "01" * 16) is not None
    await records.begin("b", "u", KIND)
    found = (await records.of("b", "u")).checksum(1, "01" * 16)
    assert found is not None
    assert found.algorithm is Algorithm.SHA256
    assert (await records.of("b", "u")).checksum(1, "ff" * 16) is None


async def test_more_than_a_page_of_parts(store: MemoryObjectStore) -> None:
    records = PartRecords(store)
    for number in range(1, 1502):
        await records.stored("b", "u", number, part(number % 256))
    assert len((await records.of("b", "u")).parts) == 1501
    await records.forget("b", "u")
    assert not (await store.list()).objects


async def test_i5_an_outage_is_not_an_upload_without_records(store: MemoryObjectStore) -> None:
    records = PartRecords(store)
    await records.stored("b", "u", 1, part(1))

    def away(op: str, key: Key) -> None:
        raise Unavailable("the store is away")

    store.fault = away
    with pytest.raises(Unavailable):
        await records.of("b", "u")
    with pytest.raises(Unavailable):
        await records.stored("b", "u", 2, part(2))


@given(st.text(alphabet="apA./0-_", max_size=40))
def test_names_of_a_later_release_are_passed_over(name: str) -> None:
    async def check() -> None:
        store = MemoryObjectStore(StoreName("documents"), clock=SetClock())
        records = PartRecords(store)
        await records.stored("b", "u", 1, part(1))
        folder = (await store.list()).objects[0].key.partition("p/")[0]
        await store.put(Key(f"{folder}p/{name or 'x'}"), b"")
        assert (1, "01" * 16) in (await records.of("b", "u")).parts

    asyncio.run(check())
