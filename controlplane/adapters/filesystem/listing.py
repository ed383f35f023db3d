"""A page of a listing: a walk in the order of the keys that reads only directories that can hold keys of the page."""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterator

from controlplane.adapters.filesystem.names import ROOT, Entry, entry_in

_BATCH = 1000
"""Entries of one directory held at a time; a larger directory is read again for the next batch."""


def walk(top: str, prefix: bytes, after: bytes) -> Iterator[tuple[bytes, str]]:
    """(key, path) of the files whose keys begin with `prefix` and are greater than `after`, in order."""
    return _walk(top, ROOT, prefix, after)


def _walk(directory: str, parent: Entry, prefix: bytes, after: bytes) -> Iterator[tuple[bytes, str]]:
    last: Entry | None = None
    while True:
        batch = heapq.nsmallest(_BATCH, _entries(directory, parent, prefix, after, last))
        for entry in batch:
            path = f"{directory}/{entry.name}"
            if entry.is_directory:
                yield from _walk(path, entry, prefix, after)
            else:
                yield entry.start, path
        if len(batch) < _BATCH:
            return
        last = batch[-1]


def _entries(directory: str, parent: Entry, prefix: bytes, after: bytes, last: Entry | None) -> Iterator[Entry]:
    try:
        listing = os.scandir(directory)
    except FileNotFoundError:
        return  # removed since its parent was read; the caller makes sure that the store itself is still there
    with listing:
        for found in listing:
            entry = entry_in(parent, found.name)
            if entry is not None and (last is None or entry > last) and _may_hold(entry, prefix, after):
                yield entry


def _may_hold(entry: Entry, prefix: bytes, after: bytes) -> bool:
    if not entry.is_directory:
        return entry.start > after and entry.start.startswith(prefix)
    in_prefix = entry.start.startswith(prefix) or prefix.startswith(entry.start)
    return in_prefix and (entry.start > after or after.startswith(entry.start))
