"""DiskHotCache: implements ports.hot_cache.HotCache over files of one process's own directory.

The index is in memory, about 1 KiB an entry; the files say the rest (files.py). The bound counts whole blocks and is
kept also while blobs are being admitted. Open descriptors are kept for the `open_files` blobs asked for last, and the
bytes of those of them that have at most HELD_BYTES: memory is bounded by open_files * HELD_BYTES.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from controlplane.adapters.disk_cache.files import Files, Found, cost_of, name_of
from controlplane.adapters.threads import Threads
from controlplane.model.content import Content, Guid
from controlplane.ports.clock import Clock
from controlplane.ports.errors import StorageFull, Unavailable
from controlplane.ports.hot_cache import CacheStats, Hit
from controlplane.ports.object_store import LocalFile

SMALL_BYTES = 64 * 1024
"""Blobs up to this size are answered with their bytes where the page cache holds them, others with a descriptor."""
HELD_BYTES = 16 * 1024
"""Blobs up to this size are held in memory while their descriptor is: a hit costs no system call."""
_SLOW_TO_FREE_BYTES = 4 * 1024 * 1024
"""Closing the last descriptor of a larger unlinked file takes milliseconds: a thread does it."""
_VERIFY_PAUSE_S = 0.01
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})

_log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Entry:
    content: Content
    content_type: str
    validated_at: float
    name: str
    cost: int
    size: int
    fd: int = -1
    lent: int = 0
    """Hits that hold the descriptor."""
    kept: bool = False
    """The descriptor stays open between hits."""
    data: bytes | None = None
    """All bytes; only while kept."""
    gone: bool = False
    """Out of the index, and unlinked."""


@dataclass(slots=True, eq=False)
class _Admission:
    done: asyncio.Future[None]
    evicted: bool = False


class DiskHotCache:
    def __init__(self, path: Path, *, limit_bytes: int, max_blob_bytes: int, open_files: int, clock: Clock) -> None:
        """Call open() before anything else. `open_files` counts descriptors kept between hits."""
        self._path = os.fspath(path)
        self._limit_bytes = limit_bytes
        self._max_blob_bytes = max_blob_bytes
        self._open_files = open_files
        self._clock = clock
        self._files = Files(self._path)
        self._entries: OrderedDict[Guid, _Entry] = OrderedDict()
        self._unverified: OrderedDict[Guid, _Entry] = OrderedDict()
        self._opened: OrderedDict[Guid, _Entry] = OrderedDict()
        self._lent: dict[int, _Entry] = {}
        self._admissions: dict[Guid, _Admission] = {}
        self._bytes = self._hits = self._misses = self._evictions = self._number = 0
        self._threads = Threads("hot-cache", 2)
        self._closing: set[asyncio.Future[None]] = set()
        self._closed = False
        self._verifying: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Take over the blobs of the last run; validated_at is 0 for them: the reader must ask a store again.

        After a boot they are misses until they are verified, which goes on in the background, last used first.
        Raises Unavailable, StorageFull."""
        try:
            found, same_boot = await self._threads.run(self._load)
        except OSError as error:
            kind = StorageFull if error.errno in _FULL else Unavailable
            raise kind(f"opening the hot cache in {self._path}: {error}: look at the disk and its mount") from error
        for each in found:
            self._take_over(each, self._entries if same_boot else self._unverified)
        self._make_room(0)
        if not same_boot:
            self._verifying = asyncio.create_task(self._verify_all())

    def _load(self) -> tuple[list[Found], bool]:
        self._files.prepare()
        return sorted(self._files.scan(), key=lambda found: found.used_at), self._files.is_same_boot()

    def _take_over(self, found: Found, index: OrderedDict[Guid, _Entry]) -> None:
        name = name_of(found.content, found.content_type)
        guid = found.content.md5
        if name is None or guid in index:
            self.evict(guid)  # two files of one GUID: neither is trusted
            if name is not None:
                self._files.remove(name)
            return
        entry = _Entry(found.content, found.content_type, 0.0, name, cost_of(found.content.size), found.content.size)
        index[guid] = entry
        self._bytes += entry.cost

    async def _verify_all(self) -> None:
        while self._unverified:
            guid, entry = next(reversed(self._unverified.items()))
            try:
                right = await self._threads.run(self._files.verify, entry.name, entry.content)
            except OSError:
                right = False
            if self._unverified.get(guid) is not entry:
                continue  # evicted or replaced meanwhile
            if right:
                del self._unverified[guid]
                self._entries[guid] = entry
                self._entries.move_to_end(guid, last=False)
            else:
                _log.warning("hot cache: blob %s is not what it was before the boot: removed", guid)
                self._drop(entry)
            await self._clock.sleep(_VERIFY_PAUSE_S)
        try:
            await self._threads.run(self._files.record_boot)
        except OSError as error:
            _log.warning("hot cache: %s: the next start will verify every blob again", error)

    def lookup(self, guid: Guid) -> Hit | None:
        entry = self._entries.get(guid)
        if entry is None:
            self._misses += 1
            if guid in self._unverified:
                self._unverified.move_to_end(guid)  # asked for: the next to be verified
            return None
        data = entry.data
        if data is not None:
            self._opened.move_to_end(guid)
            self._entries.move_to_end(guid)
            self._hits += 1
            return Hit(entry.content, entry.content_type, entry.validated_at, data)
        fd = entry.fd
        if fd < 0:
            fd = self._open_file(entry)
            if fd < 0:
                self._misses += 1
                return None
        elif entry.kept:
            self._opened.move_to_end(guid)
        self._entries.move_to_end(guid)
        self._hits += 1
        if entry.size <= SMALL_BYTES:
            buffer = bytearray(entry.size)
            try:
                read = os.preadv(fd, (buffer,), 0, os.RWF_NOWAIT)
            except OSError:
                read = -1  # not in the page cache, or not supported: the reader takes the descriptor
            if read == entry.size:
                data = bytes(buffer)
                if entry.kept and entry.size <= HELD_BYTES:
                    entry.data = data
                elif not entry.kept and not entry.lent:
                    self._close(entry)
                return Hit(entry.content, entry.content_type, entry.validated_at, data)
        entry.lent += 1
        self._lent[fd] = entry
        return Hit(entry.content, entry.content_type, entry.validated_at, None, fd)

    def _open_file(self, entry: _Entry) -> int:
        """Open the file and keep it open as far as the bound allows; -1: there is none, and the entry is dropped."""
        try:
            fd = os.open(self._files.path(entry.name), os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE):
                self._drop(entry)
            return -1
        entry.fd = fd
        if os.fstat(fd).st_size != entry.size:
            self._drop(entry)
            return -1
        if self._open_files:
            while len(self._opened) >= self._open_files:
                _, oldest = self._opened.popitem(last=False)
                oldest.kept = False
                oldest.data = None
                if not oldest.lent:
                    self._close(oldest)
            self._opened[entry.content.md5] = entry
            entry.kept = True
        return fd

    async def recall(self, guid: Guid) -> Hit | None:  # noqa: ARG002 - the port's
        """None: there is nothing farther away."""
        return None

    def release(self, hit: Hit) -> None:
        if hit.fd < 0:
            return
        fd, hit.fd = hit.fd, -1
        entry = self._lent[fd]
        entry.lent -= 1
        if not entry.lent:
            del self._lent[fd]
            if not entry.kept:
                self._close(entry)

    async def admit(self, content: Content, content_type: str, body: bytes | LocalFile, now: float) -> bool:
        guid, cost, name = content.md5, cost_of(content.size), name_of(content, content_type)
        if name is None or content.size > self._max_blob_bytes or cost > self._limit_bytes:
            return False
        running = self._admissions.get(guid)
        if running is not None:
            await asyncio.shield(running.done)
        known = self._entries.get(guid)
        if known is not None:
            return self._renew(known, content, now)
        if guid in self._unverified:
            self._drop(self._unverified[guid])
        if guid in self._admissions or not self._make_room(cost):
            return False
        self._bytes += cost
        admission = self._admissions[guid] = _Admission(asyncio.get_running_loop().create_future())
        stored = False
        try:
            self._number += 1
            stored = await self._threads.run(self._files.store, self._number, name, body, content.size)
        except OSError as error:
            if error.errno not in _FULL:
                _log.warning("hot cache: blob %s was not admitted: %s", guid, error)
        finally:
            del self._admissions[guid]
            if stored and not admission.evicted:
                self._entries[guid] = _Entry(content, content_type, now, name, cost, content.size)
            else:
                self._bytes -= cost
                self._files.remove(name)
            admission.done.set_result(None)
        return stored and not admission.evicted

    def _renew(self, known: _Entry, content: Content, now: float) -> bool:
        if known.content != content:
            self.evict(content.md5)  # a collision (I3): which of the two is the blob is not ours to say
            return False
        known.validated_at = max(known.validated_at, now)
        self._entries.move_to_end(content.md5)
        return True

    def _make_room(self, cost: int) -> bool:
        """Evict the least recently used that nobody reads (the space of the others would not come free)."""
        while self._bytes + cost > self._limit_bytes:
            victim = next(
                (e for index in (self._unverified, self._entries) for e in index.values() if not e.lent), None
            )
            if victim is None:
                return False
            self._drop(victim)
            self._evictions += 1
        return True

    def touch(self, guid: Guid, now: float) -> None:
        entry = self._entries.get(guid)
        if entry is not None:
            entry.validated_at = now

    def evict(self, guid: Guid) -> None:
        admission = self._admissions.get(guid)
        if admission is not None:
            admission.evicted = True
        for index in (self._entries, self._unverified):
            entry = index.get(guid)
            if entry is not None:
                self._drop(entry)

    def _drop(self, entry: _Entry) -> None:
        """Out of the index and the directory at once; its space counts until the last reader has released it."""
        guid = entry.content.md5
        for index in (self._entries, self._unverified):
            if index.get(guid) is entry:
                del index[guid]
        if entry.kept:
            del self._opened[guid]
            entry.kept = False
            entry.data = None
        entry.gone = True
        if entry.fd < 0 and entry.size > _SLOW_TO_FREE_BYTES:
            # Held open, the name goes quickly; the blocks are freed when the thread closes it.
            try:
                entry.fd = os.open(self._files.path(entry.name), os.O_RDONLY | os.O_CLOEXEC)
            except OSError:
                pass  # the unlink takes its time instead
        self._files.remove(entry.name)
        if not entry.lent:
            self._close(entry)

    def _close(self, entry: _Entry) -> None:
        """Close the descriptor, if any, of an entry that nobody reads; what is gone stops counting."""
        fd, entry.fd = entry.fd, -1
        if entry.gone:
            self._bytes -= entry.cost
        if fd >= 0:
            if entry.gone and entry.size > _SLOW_TO_FREE_BYTES and not self._closed:
                self._closing.add(future := self._threads.start(os.close, fd))
                future.add_done_callback(self._closing.discard)
            else:
                os.close(fd)

    def stats(self) -> CacheStats:
        entries = len(self._entries) + len(self._unverified)
        return CacheStats(entries, self._bytes, self._limit_bytes, self._hits, self._misses, self._evictions)

    async def aclose(self) -> None:
        """The blobs stay for the next run. Hits that are still held stay readable until they are released."""
        if self._verifying is not None:
            self._verifying.cancel()
            await asyncio.gather(self._verifying, return_exceptions=True)
        self._closed = True
        for entry in self._opened.values():
            entry.kept = False
            entry.data = None
            if not entry.lent:
                self._close(entry)
        for index in (self._opened, self._entries, self._unverified):
            index.clear()
        await self._threads.aclose()
