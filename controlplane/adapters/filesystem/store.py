"""FilesystemStore: implements ports.object_store.ObjectStore.

    <path>/millrace-store   the marker: without it the disk is not mounted, and nothing here is "not found" (I5)
    <path>/objects/...      the objects (names.py), each one file with its attributes (attributes.py)
    <path>/tmp/...          what is being written (scratch.py), in the same file system

Several processes may use one directory. if_absent is atomic, and so is if_match among writers that use it
(matching.py). A put that is cancelled before its rename leaves nothing;
after it the object is whole and stays.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from controlplane.adapters.filesystem import attributes
from controlplane.adapters.filesystem.attributes import Attributes
from controlplane.adapters.filesystem.directories import Directories, fsync_path
from controlplane.adapters.filesystem.failures import translated
from controlplane.adapters.filesystem.listing import walk
from controlplane.adapters.filesystem.matching import NotAsExpected, only_if
from controlplane.adapters.filesystem.names import is_permanent, path_of
from controlplane.adapters.filesystem.reader import FileReader
from controlplane.adapters.filesystem.scratch import Scratch
from controlplane.adapters.filesystem.temp_file import Place, TempFile
from controlplane.adapters.filesystem.upload import Upload
from controlplane.adapters.threads import Threads
from controlplane.model.content import Content
from controlplane.model.keys import Bucket, Key, StoreName
from controlplane.ports.clock import Clock
from controlplane.ports.errors import Conflict, Corrupt, NotFound, Rejected, Unavailable
from controlplane.ports.object_store import Body, ByteRange, ObjectInfo, Page

MARKER = "millrace-store"
_MARKER_TEXT = b"The root of a Millrace store. Without this file the store counts as not mounted.\n"
_WRITERS = 16
"""Threads, hence fsyncs under way at once: the file system's journal commits those of one moment together."""

_log = logging.getLogger(__name__)


class FilesystemStore:
    def __init__(self, name: StoreName, path: Path, *, clock: Clock, fsync: bool = True) -> None:
        """`fsync=False` loses acknowledged objects on power failure. Call open() before anything else."""
        self._name = name
        self._root = os.fspath(path)
        self._clock = clock
        self._fsync = fsync
        self._marker = os.path.join(self._root, MARKER)
        self._top = os.path.join(self._root, "objects")
        self._scratch = Scratch(os.path.join(self._root, "tmp"))
        self._directories = Directories(self._top, fsync=fsync, permanent=is_permanent)
        self._threads = Threads(f"files-{name}", _WRITERS)

    @property
    def name(self) -> StoreName:
        return self._name

    @property
    def bucket(self) -> Bucket:
        return Bucket(self._root)

    async def open(self) -> None:
        """Make the directories and the marker if the directory is new or empty; remove what dead writers left.

        Raises Unavailable, StorageFull; Rejected when the directory holds something else."""
        await self._threads.run(self._open)

    def _open(self) -> None:
        try:
            os.makedirs(self._root, exist_ok=True)
            if not os.path.exists(self._marker):
                self._initialise()
            removed = self._scratch.open()
        except OSError as error:
            raise translated(error, f"opening store {self._name} in {self._root}") from error
        if removed:
            _log.info("store %s: removed %d unfinished files of processes that died", self._name, removed)

    def _initialise(self) -> None:
        if set(os.listdir(self._root)) - {"objects", "tmp", "lost+found", MARKER}:
            raise Rejected(
                f"store {self._name}: {self._root} is not empty and has no {MARKER}: name an empty or new directory"
            )
        if os.path.isdir(self._top) and os.listdir(self._top):
            raise Unavailable(f"store {self._name}: {self._root} holds objects but no {MARKER}: put the marker back")
        os.makedirs(self._top, exist_ok=True)
        fd = os.open(self._marker, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            os.write(fd, _MARKER_TEXT)
            os.fsync(fd)
        finally:
            os.close(fd)
        fsync_path(self._root)
        fsync_path(os.path.dirname(os.path.abspath(self._root)))

    def _missing(self, key: Key) -> NotFound | Unavailable:
        """What the absence of a file means."""
        if os.path.exists(self._marker):
            return NotFound(f"store {self._name} has no object {key!r}")
        return self._away()

    def _away(self) -> Unavailable:
        return Unavailable(f"store {self._name}: {self._marker} is gone: mount the disk of {self._root} again")

    def _failed(self, error: OSError, doing: str, key: Key) -> NoReturn:
        if not os.path.exists(self._marker):
            raise self._away() from error
        raise translated(error, f"{doing} object {key!r} in store {self._name}") from error

    async def put(
        self,
        key: Key,
        body: Body,
        *,
        size: int | None = None,
        content: Content | None = None,
        content_type: str = "application/octet-stream",
        metadata: Mapping[str, str] | None = None,
        if_absent: bool = False,
        if_match: str | None = None,
    ) -> ObjectInfo:
        target = f"{self._top}/{path_of(key)}"
        if not self._scratch.is_open:
            raise Unavailable(f"store {self._name} is not open")
        if if_absent and os.path.lexists(target):
            raise self._exists(key)
        now = self._clock.now()
        place = Place(self._scratch.path(), target, self._directories, self._fsync, if_absent, if_match, self._marker)
        temp = TempFile(place)
        where = f"object {key!r} in store {self._name}"
        upload = Upload(self._threads, temp, where, now, size, content, content_type, dict(metadata or {}))
        try:
            kept = await upload.run(body)
        except FileExistsError as error:
            if upload.stream_failed:
                raise
            raise self._exists(key) from error
        except NotAsExpected as error:
            raise self._is_another(key, if_match, error) from error
        except OSError as error:
            if upload.stream_failed:
                raise
            self._failed(error, "writing", key)
        finally:
            if temp.is_left:
                await self._threads.run(temp.close)
        return _info(key, kept, now)

    def _exists(self, key: Key) -> Conflict:
        return Conflict(f"store {self._name} has an object {key!r} already")

    def _is_another(self, key: Key, if_match: str | None, found: NotAsExpected) -> Conflict:
        return Conflict(f"store {self._name} has {found} under {key!r}, not the object with ETag {if_match}")

    async def get(self, key: Key, *, byte_range: ByteRange | None = None) -> FileReader:
        fd, info = self._open_object(key)
        first, length = 0, info.size
        if byte_range is not None:
            first, length = byte_range.first, byte_range.length
            if not 0 <= first <= byte_range.last < info.size:
                os.close(fd)
                raise Rejected(f"bytes {first} to {byte_range.last} are not within object {key!r} of {info.size} bytes")
        return FileReader(fd, info, first, length, self._threads)

    async def head(self, key: Key) -> ObjectInfo:
        fd, info = self._open_object(key)
        os.close(fd)
        return info

    def _open_object(self, key: Key) -> tuple[int, ObjectInfo]:
        try:
            fd = os.open(f"{self._top}/{path_of(key)}", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise self._missing(key) from error
        except OSError as error:
            self._failed(error, "opening", key)
        try:
            kept = attributes.read(fd, f"object {key!r} in store {self._name}")
            return fd, _info(key, kept, os.fstat(fd).st_mtime)
        except OSError as error:
            os.close(fd)
            self._failed(error, "reading the attributes of", key)
        except BaseException:
            os.close(fd)
            raise

    async def delete(self, key: Key, *, if_match: str | None = None) -> None:
        await self._threads.run(self._delete, key, if_match)

    def _delete(self, key: Key, if_match: str | None) -> None:
        path = f"{self._top}/{path_of(key)}"
        folder = os.path.dirname(path)
        try:
            try:
                if if_match is None:
                    os.unlink(path)
                elif os.path.lexists(path):
                    with only_if(if_match, path, self._marker):
                        os.unlink(path)
                else:
                    raise FileNotFoundError(path)
            except NotAsExpected as error:
                raise self._is_another(key, if_match, error) from error
            except FileNotFoundError:
                if not os.path.exists(self._marker):
                    raise self._away() from None
            # Also when it was gone already: whoever removed it may not have come as far as the sync.
            self._directories.sync_removal(folder)
            self._directories.prune(folder)
        except OSError as error:
            self._failed(error, "deleting", key)

    async def list(self, *, prefix: str = "", after: Key | None = None, limit: int = 1000) -> Page:
        return await self._threads.run(self._list, prefix.encode(), b"" if after is None else after.encode(), limit)

    def _list(self, prefix: bytes, after: bytes, limit: int) -> Page:
        if limit < 1:
            raise Rejected(f"a listing's limit is at least 1, not {limit}")
        objects: list[ObjectInfo] = []
        more = False
        try:
            for key, path in walk(self._top, prefix, after):
                if len(objects) == limit:
                    more = True
                    break
                info = _listed(Key(key.decode()), path)
                if info is not None:
                    objects.append(info)
        except OSError as error:
            if not os.path.exists(self._marker):
                raise self._away() from error
            raise translated(error, f"listing store {self._name}") from error
        if not os.path.exists(self._marker):
            raise self._away()
        return Page(tuple(objects), objects[-1].key if more else None)

    async def check(self) -> None:
        await self._threads.run(self._check)

    def _check(self) -> None:
        if not os.path.exists(self._marker):
            raise self._away()
        if not self._scratch.is_open:
            raise Unavailable(f"store {self._name} is not open")
        path = self._scratch.path()
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640))
            os.unlink(path)
        except OSError as error:
            raise translated(error, f"writing in store {self._name} at {self._root}") from error

    async def aclose(self) -> None:
        try:
            await self._threads.run(self._scratch.close)
        except OSError as error:
            _log.warning("store %s: its temporary files could not be removed: %s", self._name, error)
        finally:
            await self._threads.aclose()


def _info(key: Key, kept: Attributes, modified_at: float) -> ObjectInfo:
    return ObjectInfo(key, kept.size, kept.md5, modified_at, kept.content_type, kept.content, kept.metadata)


def _listed(key: Key, path: str) -> ObjectInfo | None:
    """An entry of a listing; without an ETag when the file is damaged, which get() and head() then say; None: gone."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        status = os.fstat(fd)
        kept = attributes.read(fd, path)
    except Corrupt:
        return ObjectInfo(key, status.st_size, "", status.st_mtime)
    finally:
        os.close(fd)
    return ObjectInfo(key, kept.size, kept.md5, status.st_mtime)
