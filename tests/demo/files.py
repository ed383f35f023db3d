"""What the demo uploads: real files of this machine, and one large one."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

LARGE_BYTES = 256 * 1024 * 1024
_MOST_BYTES = 2 * 1024 * 1024


@dataclass(frozen=True)
class Source:
    """A file and what it is; digests are computed here, from the file, not by Millrace."""

    path: Path
    guid: str
    sha256: str
    size: int


def collect(tree: Path, count: int, folder: Path) -> list[Source]:
    """`count` regular files of different content below `tree`, in the order of their paths, and the large one.

    Raises FileNotFoundError when the tree does not have so many.
    """
    sources: dict[str, Source] = {}
    for path in _regular(tree):
        source = describe(path)
        if source is not None:
            sources.setdefault(source.guid, source)
        if len(sources) == count:
            break
    if len(sources) < count:
        raise FileNotFoundError(f"{tree} has only {len(sources)} different readable files, {count} are wanted")
    large = describe(make_large(folder / "large.bin"), most=LARGE_BYTES)
    assert large is not None
    return [*sources.values(), large]


def describe(path: Path, most: int = _MOST_BYTES) -> Source | None:
    """None for a file that cannot be read or is larger than `most` bytes."""
    try:
        size = path.stat().st_size
        if size > most:
            return None
        with path.open("rb") as file:
            md5 = hashlib.file_digest(file, "md5").hexdigest()
            file.seek(0)
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None
    return Source(path, md5, sha256, size)


def make_large(path: Path) -> Path:
    block = os.urandom(1024 * 1024)
    with path.open("wb") as file:
        for number in range(LARGE_BYTES // len(block)):
            file.write(number.to_bytes(8, "big") + block[8:])
    return path


def _regular(tree: Path) -> Iterator[Path]:
    for folder, names, files in os.walk(tree):
        names.sort()
        for name in sorted(files):
            path = Path(folder, name)
            if path.is_file() and not path.is_symlink():
                yield path
