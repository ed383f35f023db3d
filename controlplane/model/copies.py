"""What the catalog remembers of the copy of an S3 object at one target. A cache: the copy's own metadata is the truth
(I9, model/copy_record.py)."""

from __future__ import annotations

from typing import NamedTuple

from controlplane.model.keys import Bucket, Key, StoreName


class Copy(NamedTuple):
    """One verified copy. A tuple, because a scan compares millions of them."""

    key: Key
    source_etag: str
    """Of the version that was copied; any form."""
    size: int
    """Bytes."""
    source_mtime: int
    """Whole Unix seconds, by the source's clock: an object that got other metadata keeps its ETag and changes this."""
    target_etag: str
    """As the target lists it: a copy that changed there has another."""
    absent_since: float = 0.0
    """Unix seconds at which a scan first found that the source does not list the key; 0: it did when it was last
    looked for."""


class Noted(NamedTuple):
    """A row, and whose copies it is among."""

    store: StoreName
    """Of the target."""
    bucket: Bucket
    """At the source."""
    copy: Copy
