"""MD5 and SHA-256 of bodies, and the comparison with what they must be."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import Protocol

from controlplane.model.content import Content, Md5, Sha256
from controlplane.ports.errors import Corrupt

READ_BYTES = 1024 * 1024


class Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...

    def hexdigest(self) -> str: ...


def new_md5() -> Hash:
    return hashlib.md5(usedforsecurity=False)


def new_sha256() -> Hash:
    return hashlib.sha256()


@dataclass(frozen=True, slots=True)
class Found:
    """What a body turned out to be; the SHA-256 is only computed when it must be compared."""

    md5: Md5
    sha256: Sha256 | None
    size: int


def of_bytes(data: bytes, *, sha256: bool) -> Found:
    md5 = Md5(hashlib.md5(data, usedforsecurity=False).hexdigest())
    return Found(md5, Sha256(hashlib.sha256(data).hexdigest()) if sha256 else None, len(data))


def of_file(path: str, hashed: Hash) -> str:
    """The hex digest of a whole file."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        while block := os.read(fd, READ_BYTES):
            hashed.update(block)
    finally:
        os.close(fd)
    return hashed.hexdigest()


def compare(found: Found, size: int | None, content: Content | None, where: str) -> None:
    """Raise Corrupt unless the body is what the caller said."""
    for expected in (size, None if content is None else content.size):
        if expected is not None and found.size != expected:
            raise Corrupt(f"{where}: the body has {found.size} bytes instead of {expected}: nothing was stored")
    if content is None:
        return
    if found.md5 != content.md5:
        raise Corrupt(f"{where}: the body's MD5 is {found.md5} instead of {content.md5}: nothing was stored")
    if found.sha256 != content.sha256:
        raise Corrupt(f"{where}: the body's SHA-256 is {found.sha256} instead of {content.sha256}: nothing was stored")
