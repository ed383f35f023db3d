"""The catalog's tables, and manifests as rows (docs/decisions/0001-manifest-and-journal-format.md)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from controlplane.adapters.sqlite.schema import Schema
from controlplane.model.content import Content, Guid, Md5, Sha256
from controlplane.model.keys import Key, blob_key
from controlplane.model.manifest import Location, LocationState, Manifest

CATALOG = Schema(
    what="catalog",
    application_id=0x4D724331,  # MrC1
    durable=False,
    advice=(
        "it is a cache, nothing is lost with it: stop Millrace, remove the file with its -wal and -shm, "
        "and start again; it is rebuilt from what the stores say"
    ),
    versions=(
        """
CREATE TABLE manifest (
  guid BLOB PRIMARY KEY,
  sha256 BLOB NOT NULL,
  size INTEGER NOT NULL,
  content_type TEXT NOT NULL,
  created_at REAL NOT NULL,
  deleted_at REAL,
  locations TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX manifest_by_sha256 ON manifest (sha256) WHERE sha256 <> x'';
CREATE TABLE location_count (
  store TEXT NOT NULL,
  state TEXT NOT NULL,
  blobs INTEGER NOT NULL,
  PRIMARY KEY (store, state)
) STRICT, WITHOUT ROWID;
CREATE TABLE quarantine (
  md5 BLOB NOT NULL,
  sha256 BLOB NOT NULL,
  size INTEGER NOT NULL,
  at REAL NOT NULL,
  kept INTEGER NOT NULL,
  PRIMARY KEY (md5, sha256, size)
) STRICT, WITHOUT ROWID
""",
        """
CREATE TABLE object_copy (
  store TEXT NOT NULL,
  bucket TEXT NOT NULL,
  key TEXT NOT NULL,
  source_etag TEXT NOT NULL,
  size INTEGER NOT NULL,
  source_mtime INTEGER NOT NULL,
  target_etag TEXT NOT NULL,
  absent_since REAL NOT NULL,
  PRIMARY KEY (store, bucket, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX object_copy_absent ON object_copy (store, bucket, key) WHERE absent_since > 0
""",
    ),
)

_STATES = {state.value: state for state in LocationState}


def encode_locations(guid: Guid, locations: Iterable[Location]) -> str:
    """JSON: [[store, bucket, key or 0 for the blob's own key, state, etag, verified_at], …]."""
    own = blob_key(guid)
    return json.dumps(
        [
            (at.store, at.bucket, 0 if at.key == own else at.key, at.state.value, at.etag, at.verified_at)
            for at in locations
        ],
        separators=(",", ":"),
    )


def decode_locations(guid: Guid, text: str) -> tuple[Location, ...]:
    return tuple(
        Location(store, bucket, blob_key(guid) if key == 0 else Key(key), _STATES[state], etag, verified_at)
        for store, bucket, key, state, etag, verified_at in json.loads(text)
    )


def decode_manifest(row: tuple[Any, ...]) -> Manifest:
    """From a row of all columns, in the order of the table."""
    guid, sha256, size, content_type, created_at, deleted_at, locations = row
    md5 = Md5(guid.hex())
    return Manifest(
        Content(md5, Sha256(sha256.hex()), size),
        content_type,
        created_at,
        decode_locations(md5, locations),
        deleted_at,
    )
