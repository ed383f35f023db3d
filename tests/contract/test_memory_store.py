"""The memory store keeps ObjectStore's promises, and fails as it is told to."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from controlplane.adapters.memory.object_store import MemoryObjectStore
from controlplane.adapters.system_clock import SystemClock
from controlplane.model.keys import Key, StoreName
from controlplane.ports.errors import StorageFull, Unavailable
from controlplane.ports.object_store import ObjectStore
from tests.contract.object_store_suite import ObjectStoreContract, chunks, list_all, read_all


class TestMemoryStore(ObjectStoreContract):
    @pytest.fixture
    async def store(self) -> AsyncIterator[ObjectStore]:
        store = MemoryObjectStore(StoreName("memory"), clock=SystemClock())
        yield store
        await store.aclose()


async def test_a_fault_is_raised_before_anything_happens() -> None:
    store = MemoryObjectStore(StoreName("memory"), clock=SystemClock())
    await store.put(Key("there"), b"x")
    asked: list[tuple[str, str]] = []

    def fault(op: str, key: Key) -> None:
        asked.append((op, key))
        raise Unavailable("told to")

    store.fault = fault
    for operation in (
        store.put(Key("new"), b"y"),
        store.get(Key("there")),
        store.head(Key("there")),
        store.delete(Key("there")),
        store.list(prefix="th"),
        store.check(),
    ):
        with pytest.raises(Unavailable):
            await operation
    assert asked == [
        ("put", "new"),
        ("get", "there"),
        ("head", "there"),
        ("delete", "there"),
        ("list", "th"),
        ("check", ""),
    ]
    store.fault = None
    assert [info.key for info in await list_all(store)] == ["there"]


async def test_the_limit_counts_what_is_kept() -> None:
    store = MemoryObjectStore(StoreName("memory"), clock=SystemClock(), limit_bytes=10)
    await store.put(Key("a"), b"12345678")
    with pytest.raises(StorageFull):
        await store.put(Key("b"), b"123")
    with pytest.raises(StorageFull):
        await store.put(Key("a"), chunks(b"12345678901", 3))
    await store.put(Key("a"), b"1234567890")
    assert await read_all(store, "a") == b"1234567890"
    await store.delete(Key("a"))
    await store.put(Key("b"), b"1234567890")
