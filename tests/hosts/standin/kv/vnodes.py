"""The vnodes of one node: a store for each partition and backend, opened when first used."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

from tests.hosts.standin.kv.backends import Backend, Backends
from tests.hosts.standin.kv.log_store import Place, Store
from tests.hosts.standin.kv.objects import RiakObject, merge, update

Properties = Callable[[str, str], dict[str, Any]]


class UnknownBackend(LookupError):
    """A bucket property names a backend that this node does not have: the vnode never answers."""


class Vnodes:
    def __init__(self, node: str, backends: Backends, properties: Properties) -> None:
        self.node, self.backends, self._properties = node, backends, properties
        self._stores: dict[tuple[int, str], Store] = {}
        self._lock = threading.RLock()
        self._busy: dict[int, threading.RLock] = {}
        for backend in backends.named.values():
            for index in backend.partitions():
                self._stores[index, backend.name] = backend.open(index)

    def guard(self, index: int) -> threading.RLock:
        """Held while a vnode changes an object, and at the end of a handoff."""
        with self._lock:
            return self._busy.setdefault(index, threading.RLock())

    def _store(self, index: int, bucket_type: str, bucket: str) -> Store:
        backend = self.backends.choose(bucket, self._properties(bucket_type, bucket))
        if backend is None:
            raise UnknownBackend(bucket)
        return self._open(index, backend)

    def _open(self, index: int, backend: Backend) -> Store:
        with self._lock:
            if (index, backend.name) not in self._stores:
                self._stores[index, backend.name] = backend.open(index)
            return self._stores[index, backend.name]

    def indexes(self) -> list[int]:
        """Indexes of all vnodes that hold something."""
        with self._lock:
            return sorted({index for index, _ in self._stores})

    def get(self, index: int, place: Place) -> RiakObject | None:
        return self._store(index, place[0], place[1]).get(place)

    def merge(self, index: int, place: Place, incoming: RiakObject) -> RiakObject:
        """Takes in what another replica has."""
        with self.guard(index):
            store = self._store(index, place[0], place[1])
            known = store.get(place)
            result = incoming if known is None else merge(known, incoming)
            if self._properties(place[0], place[1]).get("allow_mult") is not True and len(result.siblings) > 1:
                newest = max(result.siblings, key=lambda s: s.modified)
                result = RiakObject(result.clock, (newest,))
            if result != known:
                store.put(place, result)
            return result

    def coordinate(
        self, index: int, place: Place, context: dict[str, int], write: dict[str, Any], value: bytes
    ) -> RiakObject:
        """A client's write: this vnode adds its event to the version vector."""
        with self.guard(index):
            store = self._store(index, place[0], place[1])
            properties = self._properties(place[0], place[1])
            alone = properties.get("allow_mult") is not True or properties.get("last_write_wins") is True
            result = update(
                store.get(place) or RiakObject(),
                context,
                f"{self.node}/{index}",
                value,
                write.get("metadata", {}),
                deleted=write.get("deleted", False),
                alone=alone,
            )
            store.put(place, result)
            return result

    def reap(self, index: int, place: Place, clock: dict[str, int]) -> None:
        """Removes a tombstone that nothing has superseded."""
        with self.guard(index):
            store = self._store(index, place[0], place[1])
            found = store.get(place)
            if found is not None and not found.live and found.clock == clock:
                store.put(place, None)

    def contents(self, index: int) -> Iterator[tuple[Place, RiakObject]]:
        """Everything in a vnode, for a handoff."""
        with self._lock:
            stores = [store for (i, _), store in self._stores.items() if i == index]
        for store in stores:
            for place in store.places():
                found = store.get(place)
                if found is not None:
                    yield place, found

    def keys(self, bucket_type: str, bucket: str) -> set[str]:
        backend = self.backends.choose(bucket, self._properties(bucket_type, bucket))
        if backend is None:
            raise UnknownBackend(bucket)
        with self._lock:
            stores = [store for (_, name), store in self._stores.items() if name == backend.name]
        found: set[str] = set()
        for store in stores:
            found.update(store.keys(bucket_type, bucket))
        return found

    def newest(self, place: Place) -> RiakObject | None:
        """The merge of all that this node has of an object, over its partitions."""
        backend = self.backends.choose(place[1], self._properties(place[0], place[1]))
        result: RiakObject | None = None
        if backend is None:
            return None
        with self._lock:
            stores = [store for (_, name), store in self._stores.items() if name == backend.name]
        for store in stores:
            found = store.get(place)
            if found is not None:
                result = found if result is None else merge(result, found)
        return result

    def buckets(self) -> set[tuple[str, str]]:
        return {place[:2] for store in list(self._stores.values()) for place in store.places()}

    def drop(self, index: int) -> None:
        with self._lock:
            for found in [key for key in self._stores if key[0] == index]:
                self._stores.pop(found).close(destroy=True)

    def drop_all(self) -> None:
        for index in self.indexes():
            self.drop(index)

    def status(self, index: int) -> dict[str, dict[str, Any]]:
        return {name: self._open(index, backend).status() for name, backend in self.backends.named.items()}

    def close(self) -> None:
        with self._lock:
            for store in self._stores.values():
                store.close()
            self._stores.clear()
