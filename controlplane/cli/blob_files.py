"""Where bodies come from and go to: files, standard input and output; each in constant memory."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import stat
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from controlplane.cli.blob_transport import BLOCK
from controlplane.cli.exit_codes import CommandFailed

STANDARD = "-"


class FileSource:
    """Implements blob_client.Source over a descriptor, from where it stands. Close it, or leave its context."""

    def __init__(self, path: str) -> None:
        self.name = path
        try:
            self._fd = os.dup(0) if path == STANDARD else os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            found = os.fstat(self._fd)
        except OSError as error:
            raise _failed("cannot open", path, error) from error
        if stat.S_ISDIR(found.st_mode):
            os.close(self._fd)
            raise CommandFailed(f"cannot put {path}: it is a directory: name the files in it")
        self.size: int | None = None
        self._start = 0
        if stat.S_ISREG(found.st_mode):
            self._start = os.lseek(self._fd, 0, os.SEEK_CUR)
            self.size = max(found.st_size - self._start, 0)
        elif stat.S_ISFIFO(found.st_mode):
            with contextlib.suppress(OSError):  # more than this user may have: only slower
                fcntl.fcntl(self._fd, fcntl.F_SETPIPE_SZ, BLOCK)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def rewind(self) -> bool:
        if self.size is None:
            return False
        os.lseek(self._fd, self._start, os.SEEK_SET)
        return True

    def blocks(self) -> Iterator[bytes]:
        """Exactly `size` bytes where that is known. Raises CommandFailed when the file shrinks or cannot be read."""
        left = self.size
        while left is None or left:
            try:
                block = os.read(self._fd, BLOCK if left is None else min(BLOCK, left))
            except OSError as error:
                raise _failed("reading", self.name, error) from error
            if not block:
                if left:
                    raise CommandFailed(f"{self.name} became shorter while it was sent: put it again")
                return
            if left is not None:
                left -= len(block)
            yield block


class StandardOutput:
    """Implements blob_client.Sink: the bytes are out before they are proved, so the exit code must be looked at."""

    def write(self, block: bytes) -> None:
        """Raises BrokenPipeError when the reader went away."""
        _write(1, block, "standard output")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class FileTarget:
    """A file that appears whole or not at all: written without a name, flushed, then moved into place.

    Leave the context with an error and nothing is left, and what was there before stays. A target that is no regular
    file (a device, a named pipe) is written to as it is."""

    def __init__(self, path: str) -> None:
        # A symbolic link is followed: its target is replaced, not the link.
        self._path = os.path.realpath(path)
        self._folder, name = os.path.split(self._path)
        self._scratch = os.path.join(self._folder, f".{name[:60]}.{secrets.token_hex(4)}")
        self._named = False
        self._direct = False
        self._fd = -1

    def __enter__(self) -> Self:
        try:
            self._direct = os.path.exists(self._path) and not os.path.isfile(self._path)
            if self._direct:
                self._fd = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC)
            else:
                self._fd = self._unnamed()
        except OSError as error:
            raise _failed("cannot write", self._path, error) from error
        return self

    def write(self, block: bytes) -> None:
        _write(self._fd, block, self._path)

    def __exit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        try:
            if kind is None and not self._direct:
                self._publish()
        except OSError as error:
            raise _failed("writing", self._path, error) from error
        finally:
            os.close(self._fd)
            if self._named:
                with contextlib.suppress(OSError):  # the failure that led here is the one to tell
                    os.unlink(self._scratch)

    def _unnamed(self) -> int:
        try:
            # A file without a name vanishes with its writer, also on SIGKILL.
            return os.open(self._folder, os.O_WRONLY | os.O_TMPFILE | os.O_CLOEXEC, 0o666)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):
                raise
            fd = os.open(self._scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            self._named = True
            return fd

    def _publish(self) -> None:
        os.fsync(self._fd)
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if not self._named:
                # A descriptor of the folder makes it linkat(), which alone follows the link that names the file.
                os.link(f"/proc/self/fd/{self._fd}", self._scratch, dst_dir_fd=folder)
                self._named = True
            os.replace(self._scratch, self._path)
            self._named = False
            os.fsync(folder)
        finally:
            os.close(folder)


def _write(fd: int, block: bytes, name: str) -> None:
    view = memoryview(block)
    try:
        while view:
            view = view[os.write(fd, view) :]
    except BrokenPipeError:
        raise
    except OSError as error:
        raise _failed("writing", name, error) from error


def _failed(doing: str, name: str, error: OSError) -> CommandFailed:
    return CommandFailed(f"{doing} {name}: {error.strerror}")
