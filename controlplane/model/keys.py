"""How Millrace names things inside a bucket.

`blobs/<guid>`                  a blob
`tombstones/<guid>`             a delete that has not reached every store yet (I4, shared by all nodes)
`tombstones/s3/<bucket>/<hash>` the same for an S3 object, by the SHA-256 of its key
`quarantine/<guid>/<sha256>`    bytes whose MD5 belongs to another blob (I3)
`probes/<node>`                 the object that a node's own health probe writes, reads and deletes (I7)
"""

from __future__ import annotations

from typing import NewType

from controlplane.model.content import Guid, Sha256, parse_guid

StoreName = NewType("StoreName", str)
Bucket = NewType("Bucket", str)
Key = NewType("Key", str)

BLOBS = "blobs/"
TOMBSTONES = "tombstones/"
QUARANTINE = "quarantine/"
PROBES = "probes/"


def blob_key(guid: Guid) -> Key:
    return Key(BLOBS + guid)


def guid_of(key: Key) -> Guid:
    """The GUID in a blob's key; raise MalformedDigest when the key is not a blob's."""
    return parse_guid(key.removeprefix(BLOBS))


def tombstone_key(guid: Guid) -> Key:
    return Key(TOMBSTONES + guid)


def quarantine_key(guid: Guid, sha256: Sha256) -> Key:
    return Key(f"{QUARANTINE}{guid}/{sha256}")


def probe_key(node: str) -> Key:
    return Key(PROBES + node)
