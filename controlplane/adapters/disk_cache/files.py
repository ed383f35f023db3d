"""The files of the disk cache. A name says all about its blob, so that one rename publishes it and one scan finds it.

    <path>/blobs/<2 digits>/<guid>.<sha256>.<size>.<content type, %XX>   a blob, and nothing else
    <path>/tmp/...                                                       being written; removed at start
    <path>/boot                      the boot of the machine in which every blob was verified, or written whole

Nothing is synced, so after a power failure a file may be torn although its name and size are right. Its bytes count as
verified only while the machine runs on: where `boot` names another boot, each blob is hashed before it is served (I2).
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote, unquote

from controlplane.model.content import Content, Md5, Sha256
from controlplane.ports.object_store import LocalFile

BLOCK_BYTES = 4096
"""Files are counted in whole blocks, and an empty one as one."""
_BOOT_ID = "/proc/sys/kernel/random/boot_id"
_NAME = re.compile(r"([0-9a-f]{32})\.([0-9a-f]{64})\.(0|[1-9][0-9]{0,18})\.([A-Za-z0-9._~%-]*)\Z")
_LONGEST_NAME = 255
_READ_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Found:
    """A file that the scan found, of the right size."""

    content: Content
    content_type: str
    used_at: float


def cost_of(size: int) -> int:
    return max(BLOCK_BYTES, -(-size // BLOCK_BYTES) * BLOCK_BYTES)


def name_of(content: Content, content_type: str) -> str | None:
    """The blob's path below blobs/; None when the content type is too long for a file name."""
    name = f"{content.md5}.{content.sha256}.{content.size}.{quote(content_type, safe='')}"
    return f"{content.md5[:2]}/{name}" if len(name) <= _LONGEST_NAME else None


def parse(name: str) -> tuple[Content, str] | None:
    match = _NAME.match(name)
    if match is None:
        return None
    md5, sha256, size, quoted = match.groups()
    content_type = unquote(quoted, errors="strict")
    return Content(Md5(md5), Sha256(sha256), int(size)), content_type


_log = logging.getLogger(__name__)


class Files:
    """Blocking; raises OSError."""

    def __init__(self, path: str) -> None:
        self._blobs = os.path.join(path, "blobs")
        self._tmp = os.path.join(path, "tmp")
        self._boot = os.path.join(path, "boot")

    def prepare(self) -> None:
        """Make the directories and remove what was being written; the cache is one process's own."""
        for number in range(256):
            os.makedirs(f"{self._blobs}/{number:02x}", exist_ok=True)
        os.makedirs(self._tmp, exist_ok=True)
        for name in os.listdir(self._tmp):
            os.unlink(os.path.join(self._tmp, name))

    def scan(self) -> Iterator[Found]:
        """Every blob; removes files that are not a blob's or have another size than they say."""
        for number in range(256):
            folder = f"{self._blobs}/{number:02x}"
            with os.scandir(folder) as listing:
                for entry in listing:
                    if entry.is_dir(follow_symlinks=False):
                        continue  # not ours, and not a file that a look-up could find
                    found = self._examine(entry)
                    if found is None:
                        os.unlink(entry.path)
                    else:
                        yield found

    def _examine(self, entry: os.DirEntry[str]) -> Found | None:
        try:
            parsed = parse(entry.name)
        except UnicodeDecodeError:
            parsed = None
        status = entry.stat(follow_symlinks=False)
        if parsed is None or not entry.is_file(follow_symlinks=False) or status.st_size != parsed[0].size:
            return None
        if name_of(*parsed) != f"{os.path.basename(os.path.dirname(entry.path))}/{entry.name}":
            return None
        return Found(*parsed, max(status.st_atime, status.st_mtime))

    def path(self, name: str) -> str:
        return f"{self._blobs}/{name}"

    def store(self, number: int, name: str, body: bytes | LocalFile, size: int) -> bool:
        """Write or link the blob under its name; False when the body is not `size` bytes long."""
        temp = f"{self._tmp}/{number}"
        try:
            if isinstance(body, bytes):
                _write(temp, [body])
            else:
                _link_or_copy(body, temp)
            if os.stat(temp).st_size != size:
                return False
            os.rename(temp, self.path(name))
            return True
        finally:
            _unlink_left(temp)

    def remove(self, name: str) -> None:
        """Unlink a blob. What cannot be unlinked is said in the log, and found again at the next start."""
        try:
            os.unlink(self.path(name))
        except FileNotFoundError:
            pass  # never written, or removed by hand
        except OSError as error:
            _log.warning("hot cache: %s was not removed: %s", name, error)

    def verify(self, name: str, content: Content) -> bool:
        """Whether the file's bytes have the digests of its name."""
        md5, sha256, size = hashlib.md5(usedforsecurity=False), hashlib.sha256(), 0
        with open(self.path(name), "rb", buffering=0) as file:
            while block := file.read(_READ_BYTES):
                md5.update(block)
                sha256.update(block)
                size += len(block)
        return Content(Md5(md5.hexdigest()), Sha256(sha256.hexdigest()), size) == content

    def is_same_boot(self) -> bool:
        current = _read_text(_BOOT_ID)
        return current != "" and _read_text(self._boot) == current

    def record_boot(self) -> None:
        """Say that every blob is verified in this boot; without a boot id every start verifies."""
        current = _read_text(_BOOT_ID)
        if current:
            temp = f"{self._tmp}/boot"
            try:
                _write(temp, [current.encode()])
                os.rename(temp, self._boot)
            finally:
                _unlink_left(temp)


def _unlink_left(temp: str) -> None:
    """Also after a rename: onto another name of the same inode it changes nothing."""
    try:
        os.unlink(temp)
    except FileNotFoundError:
        pass  # renamed


def _link_or_copy(body: LocalFile, temp: str) -> None:
    try:
        os.link(body.path, temp)
    except FileNotFoundError:
        raise
    except OSError:
        # Another file system, or one that does not link; what else may be wrong the copy will say.
        with open(body.path, "rb", buffering=0) as source:
            _write(temp, iter(lambda: source.read(_READ_BYTES), b""))


def _write(path: str, blocks: Iterator[bytes] | list[bytes]) -> None:
    with open(path, "xb", buffering=0) as file:
        for block in blocks:
            left = memoryview(block)
            while left:
                left = left[file.write(left) :]


def _read_text(path: str) -> str:
    try:
        with open(path, encoding="ascii") as file:
            return file.read().strip()
    except (OSError, UnicodeDecodeError):
        return ""
