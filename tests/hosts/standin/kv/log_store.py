"""What a vnode keeps: an append-only file with an index in memory, or memory alone with a bound and a time to live.

Record: 4 bytes length of the JSON, 4 bytes length of the value, JSON, value. A torn record at the end is cut off at
opening. The file is written anew when less than half of it is alive.
"""

import json
import os
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.hosts.standin.kv.objects import RiakObject, dump, restore

Place = tuple[str, str, str]
"""Bucket type, bucket, key; Latin-1 text for the bytes of bucket and key."""

_COMPACT_FROM = 64 << 20


class FileStore:
    """One file for one partition of one backend."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock = threading.RLock()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._index: dict[tuple[str, str], dict[str, tuple[int, int]]] = {}
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o640)
        self._end = self._replay()
        self._dead = 0

    def _replay(self) -> int:
        at, size = 0, os.fstat(self._descriptor).st_size
        while at + 8 <= size:
            head, length = struct.unpack(">II", os.pread(self._descriptor, 8, at))
            if at + 8 + head + length > size:
                break
            record = json.loads(os.pread(self._descriptor, head, at + 8))
            self._remember(tuple(record["place"]), at, 8 + head + length, gone=record["object"] is None)
            at += 8 + head + length
        os.ftruncate(self._descriptor, at)
        return at

    def _remember(self, place: Place, at: int, length: int, *, gone: bool) -> None:
        keys = self._index.setdefault(place[:2], {})
        if gone:
            keys.pop(place[2], None)
        else:
            keys[place[2]] = (at, length)

    def get(self, place: Place) -> RiakObject | None:
        with self.lock:
            found = self._index.get(place[:2], {}).get(place[2])
            return None if found is None else self._read(*found)

    def _read(self, at: int, length: int) -> RiakObject:
        raw = os.pread(self._descriptor, length, at)
        (head,) = struct.unpack_from(">I", raw)
        return restore(json.loads(raw[8 : 8 + head])["object"], raw[8 + head :])

    def put(self, place: Place, value: RiakObject | None) -> None:
        header, blob = (None, b"") if value is None else dump(value)
        text = json.dumps({"place": place, "object": header}, separators=(",", ":")).encode()
        record = struct.pack(">II", len(text), len(blob)) + text + blob
        with self.lock:
            old = self._index.get(place[:2], {}).get(place[2])
            if old is None and value is None:
                return
            os.pwrite(self._descriptor, record, self._end)
            self._remember(place, self._end, len(record), gone=value is None)
            self._end += len(record)
            self._dead += (old[1] if old else 0) + (len(record) if value is None else 0)
            if self._end > _COMPACT_FROM and self._dead * 2 > self._end:
                self._compact()

    def _compact(self) -> None:
        fresh = FileStore(self.path.with_suffix(".merge"))
        for place in self.places():
            fresh.put(place, self.get(place))
        os.replace(fresh.path, self.path)
        os.close(self._descriptor)
        self._descriptor, self._index, self._end, self._dead = fresh._descriptor, fresh._index, fresh._end, 0

    def keys(self, bucket_type: str, bucket: str) -> list[str]:
        with self.lock:
            return list(self._index.get((bucket_type, bucket), {}))

    def places(self) -> Iterator[Place]:
        with self.lock:
            found = [(*bucket, key) for bucket, keys in self._index.items() for key in keys]
        yield from found

    def status(self) -> dict[str, Any]:
        with self.lock:
            count = sum(len(keys) for keys in self._index.values())
            return {"file": str(self.path), "keys": count, "bytes": self._end, "dead": self._dead}

    def close(self, *, destroy: bool = False) -> None:
        with self.lock:
            os.close(self._descriptor)
            if destroy:
                self.path.unlink(missing_ok=True)
                try:
                    self.path.parent.rmdir()
                except OSError:
                    pass


class MemoryStore:
    """The memory backend: nothing on disk; entries die after `ttl` seconds, the oldest go when `maximum` is reached."""

    def __init__(self, maximum: int | None, ttl: float | None) -> None:
        self.lock = threading.RLock()
        self._maximum, self._ttl = maximum, ttl
        self._entries: dict[Place, tuple[float, RiakObject]] = {}
        self._used = 0

    def get(self, place: Place) -> RiakObject | None:
        with self.lock:
            entry = self._entries.get(place)
            if entry and self._ttl is not None and time.monotonic() - entry[0] > self._ttl:
                self._drop(place)
                return None
            return entry[1] if entry else None

    def _drop(self, place: Place) -> None:
        self._used -= self._entries.pop(place)[1].size

    def put(self, place: Place, value: RiakObject | None) -> None:
        with self.lock:
            if place in self._entries:
                self._drop(place)
            if value is None:
                return
            self._entries[place] = (time.monotonic(), value)
            self._used += value.size
            while self._maximum is not None and self._used > self._maximum:
                self._drop(next(iter(self._entries)))

    def keys(self, bucket_type: str, bucket: str) -> list[str]:
        return [key for kind, name, key in self.places() if (kind, name) == (bucket_type, bucket)]

    def places(self) -> Iterator[Place]:
        with self.lock:
            found = list(self._entries)
        yield from (place for place in found if self.get(place) is not None)

    def status(self) -> dict[str, Any]:
        return {"keys": len(self._entries), "used_memory": self._used}

    def close(self, *, destroy: bool = False) -> None:
        self._entries.clear()


Store = FileStore | MemoryStore
