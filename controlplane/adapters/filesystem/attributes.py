"""What is kept with an object's bytes: in the file's own inode, so that one rename publishes both.

An extended attribute where the file system has them: the file is the object's bytes and nothing else. Otherwise a
trailer behind the bytes: JSON, its length, MAGIC. A linked file (LocalFile) shares its inode, hence its attribute,
with every other name that it has: the attribute is written once and never changed.
"""

from __future__ import annotations

import errno
import json
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

from controlplane.model.content import Content, Md5, Sha256
from controlplane.ports.errors import Corrupt

ATTRIBUTE = "user.millrace.object"
MAGIC = b"MILLRACE"
_FOOTER = struct.Struct(">I8s")
_LONGEST_TRAILER = 64 * 1024
_CANNOT_HOLD = frozenset({errno.ENOTSUP, errno.E2BIG, errno.ENOSPC, errno.EPERM, errno.ERANGE, errno.EDQUOT})
"""ext4 says ENOSPC for an attribute that does not fit its block: a trailer then still fits, or the disk is full."""


@dataclass(frozen=True, slots=True)
class Attributes:
    md5: Md5
    size: int
    content_type: str
    content: Content | None
    """As the writer gave it, when it did."""
    metadata: Mapping[str, str] = field(default_factory=dict)

    def encode(self) -> bytes:
        fields: dict[str, object] = {"md5": self.md5, "size": self.size, "type": self.content_type}
        if self.content is not None:
            fields["sha256"] = self.content.sha256
        if self.metadata:
            fields["metadata"] = dict(sorted(self.metadata.items()))
        return json.dumps(fields, separators=(",", ":")).encode()


def decode(text: bytes) -> Attributes:
    """Raises ValueError, KeyError or TypeError for what encode() did not write."""
    fields = json.loads(text)
    md5, size, sha256 = Md5(fields["md5"]), int(fields["size"]), fields.get("sha256")
    return Attributes(
        md5=md5,
        size=size,
        content_type=str(fields["type"]),
        content=None if sha256 is None else Content(md5, Sha256(sha256), size),
        metadata=fields.get("metadata", {}),
    )


def attach(fd: int, text: bytes) -> bool:
    """Write the attribute; False when it cannot be held here, or the inode carries another already."""
    try:
        os.setxattr(fd, ATTRIBUTE, text, os.XATTR_CREATE)
    except FileExistsError:
        return os.getxattr(fd, ATTRIBUTE) == text
    except OSError as error:
        if error.errno in _CANNOT_HOLD:
            return False
        raise
    return True


def trailer(text: bytes) -> bytes:
    return text + _FOOTER.pack(len(text), MAGIC)


def read(fd: int, where: str) -> Attributes:
    """The attributes of an open object. Raises Corrupt when there are none, or the file is not as long as they say."""
    length = os.fstat(fd).st_size
    try:
        found, stored = decode(os.getxattr(fd, ATTRIBUTE)), length
    except OSError as error:
        if error.errno not in (errno.ENODATA, errno.ENOTSUP):
            raise
        found, stored = _read_trailer(fd, length, where)
    except (ValueError, KeyError, TypeError) as error:
        raise Corrupt(f"{where}: its attribute {ATTRIBUTE} is damaged: restore the file from the mirror") from error
    if found.size != stored:
        raise Corrupt(f"{where}: holds {stored} bytes instead of {found.size}: restore the file from the mirror")
    return found


def _read_trailer(fd: int, length: int, where: str) -> tuple[Attributes, int]:
    missing = (
        f"{where}: carries neither the attribute {ATTRIBUTE} nor a trailer; "
        "if it was restored from a backup, restore with extended attributes (rsync -X, tar --xattrs)"
    )
    footer = os.pread(fd, _FOOTER.size, max(0, length - _FOOTER.size))
    if len(footer) < _FOOTER.size:
        raise Corrupt(missing)
    size, magic = _FOOTER.unpack(footer)
    start = length - _FOOTER.size - size
    if magic != MAGIC or size > _LONGEST_TRAILER or start < 0:
        raise Corrupt(missing)
    try:
        return decode(os.pread(fd, size, start)), start
    except (ValueError, KeyError, TypeError) as error:
        raise Corrupt(f"{where}: its trailer is damaged: restore the file from the mirror") from error
