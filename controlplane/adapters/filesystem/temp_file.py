"""The file that an object is written to before it takes its place. Everything here blocks and runs in threads.

The steps, each a fault point: temp_opened, written, synced, renamed, dir_synced. Before `renamed` the object is what
it was before, afterwards it is whole; after `dir_synced` it is durable.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass

from controlplane.adapters.filesystem import attributes
from controlplane.adapters.filesystem.attributes import Attributes
from controlplane.adapters.filesystem.directories import Directories
from controlplane.adapters.filesystem.matching import only_if
from controlplane.ports.fault_points import reach
from controlplane.ports.object_store import LocalFile

_COPY_BYTES = 1024 * 1024
_MOST_RENAMES = 100
"""Each needs a delete that prunes the directory just made; more means that something else is wrong."""
_CANNOT_LINK = frozenset({errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.EACCES})


@dataclass(frozen=True, slots=True)
class Place:
    """Where an object goes, and how it is to be put there."""

    temp: str
    target: str
    directories: Directories
    fsync: bool
    if_absent: bool
    if_match: str | None = None
    locks: str = ""
    """The file whose bytes are locked under if_match."""


class Abandoned(Exception):
    """The caller was cancelled before the object was renamed into place."""


class TempFile:
    """Whatever happens, close() removes what is left of it."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._fd = -1
        self._made = False
        self._abandoned = False

    @property
    def is_left(self) -> bool:
        return self._made

    def open(self) -> None:
        self._fd = os.open(self._place.temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
        self._made = True
        reach("filesystem.temp_opened")

    def write(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            left = left[os.write(self._fd, left) :]

    def flush(self) -> None:
        """Make the disk work on what is written so far, so that the last fsync has little left."""
        if self._place.fsync:
            os.fdatasync(self._fd)

    def take(self, body: LocalFile, text: bytes) -> bool:
        """Link the file, or copy it where that cannot be; whether the attributes are attached to it already."""
        try:
            os.link(body.path, self._place.temp)
        except OSError as error:
            if error.errno not in _CANNOT_LINK:
                raise
        else:
            self._made = True
            self._fd = os.open(self._place.temp, os.O_RDONLY | os.O_CLOEXEC)
            reach("filesystem.temp_opened")
            if attributes.attach(self._fd, text):
                return True
            self.close()  # no room for the attributes, or linked before with others: this one needs its own inode
        self.open()
        source = os.open(body.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            while block := os.read(source, _COPY_BYTES):
                self.write(block)
        finally:
            os.close(source)
        return False

    def publish(self, kept: Attributes, now: float, *, attached: bool = False) -> None:
        """Attach, sync and rename. Raises FileExistsError under if_absent, NotAsExpected under if_match, Abandoned."""
        place = self._place
        text = kept.encode()
        if not attached and not attributes.attach(self._fd, text):
            self.write(attributes.trailer(text))
        nanoseconds = int(now * 1e9)
        os.utime(self._fd, ns=(nanoseconds, nanoseconds))
        reach("filesystem.written")
        if place.fsync:
            os.fsync(self._fd)
        reach("filesystem.synced")
        if self._abandoned:
            raise Abandoned
        if place.if_match is None:
            self._rename()
        else:
            with only_if(place.if_match, place.target, place.locks):
                self._rename()
        reach("filesystem.renamed")
        place.directories.sync(os.path.dirname(place.target))
        reach("filesystem.dir_synced")

    def abandon(self) -> None:
        """Tell publish() in its thread to stop if it has not renamed yet."""
        self._abandoned = True

    def _rename(self) -> None:
        place = self._place
        move = os.link if place.if_absent else os.rename
        for _ in range(_MOST_RENAMES):
            try:
                return move(place.temp, place.target)
            except FileNotFoundError:
                # Not made yet, or pruned by a delete at this very moment.
                place.directories.make(os.path.dirname(place.target))
        return move(place.temp, place.target)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if self._made:
            self._made = False
            try:
                os.unlink(self._place.temp)
            except FileNotFoundError:
                pass  # renamed into place
