"""Rows of the catalog as they lie in Riak KV (docs/decisions/0009-riak-kv-journal.md).

<guid>              a manifest; in the indexes "guid", "sha256", and "at" as <store>.<state> for each location
quarantine objects  <md5>/<sha256>/<size> in a bucket of their own, with <md5> in the index "guid"
copies              the SHA-256 of the key, in a bucket for each source bucket and target; the whole row is in the
                    term of the index "row", so that a scan reads index pages and no objects
"""

from __future__ import annotations

import hashlib
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from functools import reduce
from typing import Any

from controlplane.adapters.riak_kv.kv import Indexes
from controlplane.model.content import Content, Md5, Sha256
from controlplane.model.copies import Copy
from controlplane.model.keys import Bucket, Key, StoreName
from controlplane.model.manifest import Location, LocationState
from controlplane.model.shared_manifest import Head, SharedManifest, Stamped, merge_manifests
from controlplane.ports.catalog import Quarantined
from controlplane.ports.errors import Corrupt


def state_term(store: StoreName, state: LocationState) -> str:
    return f"{store.encode().hex()}.{state.value}"


def manifest_indexes(known: SharedManifest) -> Indexes:
    sha256 = known.head.what.content.sha256
    return [
        ("guid_bin", known.guid),
        *([("sha256_bin", sha256)] if sha256 else []),
        *(("at_bin", state_term(store, at.what.state)) for store, at in known.locations.items()),
    ]


def encode_manifest(known: SharedManifest) -> bytes:
    head = known.head.what
    content = head.content
    return _json(
        {
            "v": 1,
            "head": [
                known.head.stamp,
                [content.md5, content.sha256, content.size],
                head.content_type,
                head.created_at,
                head.order,
            ],
            "deleted": [known.deleted_at.stamp, known.deleted_at.what],
            "locations": [
                [at.stamp, *_location_fields(at.what), known.added.get(store, 0)]
                for store, at in known.locations.items()
            ],
        }
    )


def decode_manifest(values: tuple[bytes, ...], where: str) -> SharedManifest | None:
    """The siblings as one; None when there is none. Raises Corrupt."""
    if not values:
        return None
    try:
        return reduce(merge_manifests, [_manifest(json.loads(value)) for value in values])
    except (ValueError, KeyError, TypeError) as error:
        raise Corrupt(f"{where} does not hold a manifest: {error!r}; it can be deleted, it is a cache") from error


def _location_fields(at: Location) -> list[object]:
    return [at.store, at.bucket, at.key, at.state.value, at.etag, at.verified_at]


def _manifest(fields: dict[str, Any]) -> SharedManifest:
    if fields["v"] != 1:
        raise ValueError(f"version {fields['v']} is newer than this Millrace")
    stamp, (md5, sha256, size), content_type, created_at, order = fields["head"]
    content = Content(Md5(md5), Sha256(sha256), size)
    locations: dict[StoreName, Stamped[Location]] = {}
    added: dict[StoreName, int] = {}
    for changed, store, bucket, key, state, etag, verified_at, since in fields["locations"]:
        location = Location(StoreName(store), Bucket(bucket), Key(key), LocationState(state), etag, verified_at)
        locations[location.store] = Stamped(changed, location)
        added[location.store] = since
    deleted, at = fields["deleted"]
    head = Head(content, content_type, created_at, tuple(StoreName(name) for name in order))
    return SharedManifest(content.md5, Stamped(stamp, head), Stamped(deleted, at), locations, added)


# -- quarantine --------------------------------------------------------------------------------------------------------


def quarantine_key(content: Content) -> str:
    return f"{content.md5}/{content.sha256}/{content.size}"


def encode_quarantined(entry: Quarantined) -> bytes:
    content = entry.content
    return _json({"content": [content.md5, content.sha256, content.size], "at": entry.at, "kept": entry.kept})


def decode_quarantined(values: tuple[bytes, ...], where: str) -> Quarantined:
    """Of siblings the earliest. Raises Corrupt."""
    try:
        rows = [json.loads(value) for value in values]
        row = min(rows, key=lambda row: (row["at"], row["kept"]))
        md5, sha256, size = row["content"]
        return Quarantined(Content(Md5(md5), Sha256(sha256), size), row["at"], row["kept"])
    except (ValueError, KeyError, TypeError) as error:
        raise Corrupt(f"{where} does not hold a quarantined content: {error!r}") from error


# -- copies ------------------------------------------------------------------------------------------------------------


def copies_bucket(cluster: str, store: StoreName, bucket: Bucket) -> str:
    digits = hashlib.sha256(f"{len(store)}:{store}{bucket}".encode()).hexdigest()[:32]
    return f"{cluster}.copies.{digits}"


def copy_key(key: Key) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def after_term(key: Key | None) -> str:
    """Below every row behind the key, above the key's own: "-" < "." < "/" < every digit. Never empty: see RiakKv."""
    return "-" if key is None else f"{key.encode().hex()}/"


def until_term(key: Key | None) -> str:
    return "~" if key is None else f"{key.encode().hex()}.~"


ABSENT_ROWS = "^[0-9a-f]*\\.a\\."


def copy_term(copy: Copy, stamp: int) -> str:
    """<key in hex>.<a or p: absent or present>.<stamp>.<the rest>: in the order of the keys' bytes."""
    rest = json.dumps(
        [copy.source_etag, copy.size, copy.source_mtime, copy.target_etag, copy.absent_since], separators=(",", ":")
    )
    mark = "a" if copy.absent_since > 0 else "p"
    return f"{copy.key.encode().hex()}.{mark}.{stamp:016x}.{urlsafe_b64encode(rest.encode()).decode().rstrip('=')}"


def read_copy_term(term: str, where: str) -> tuple[int, Copy]:
    """The stamp and the row; of two of one key the one with the greater stamp counts. Raises Corrupt."""
    try:
        key, _, stamp, rest = term.split(".")
        fields = json.loads(urlsafe_b64decode(rest + "=" * (-len(rest) % 4)))
        return int(stamp, 16), Copy(Key(bytes.fromhex(key).decode()), *fields)
    except (ValueError, TypeError) as error:
        raise Corrupt(f"{where} has an index entry that is not a copy's: {error!r}") from error


def _json(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields, separators=(",", ":"), sort_keys=True).encode("ascii")
