"""What the operating system's errors mean for a caller."""

from __future__ import annotations

import errno

from controlplane.ports.errors import MillraceError, Rejected, StorageFull, Unavailable

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


def translated(error: OSError, doing: str) -> MillraceError:
    """The port's error for a failure; what a missing or an existing file means is the caller's to judge."""
    reason = f"{error.strerror or error}" + (f" ({error.filename})" if error.filename else "")
    if error.errno in _FULL:
        return StorageFull(f"{doing}: {reason}: free some space or grow the file system")
    if error.errno == errno.ENAMETOOLONG:
        return Rejected(f"{doing}: the key's path is longer than the file system allows: use a shorter key")
    return Unavailable(f"{doing}: {reason}: look at the disk, its mount and the kernel's log")
