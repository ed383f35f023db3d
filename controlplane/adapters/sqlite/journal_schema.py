"""The journal's tables (docs/decisions/0001-manifest-and-journal-format.md).

Stages of an entry. A (bucket, key) with pending entries has exactly one that is first: its oldest pending.
0 blocked   pending, behind an older pending entry of the same key
1 first     pending, first of its key; ready (waits = 0: due as far as is known) or waiting (waits = 1: see due_at)
2 failed    a dead letter
`waits` is a column of its own because it changes most, and so does not touch the largest index.
"""

from __future__ import annotations

from controlplane.adapters.sqlite.schema import Schema

JOURNAL = Schema(
    what="journal",
    application_id=0x4D724A31,  # MrJ1
    synchronous="FULL",
    advice=(
        "it holds acknowledged writes that may not be mirrored yet, so it is never recreated by itself: stop Millrace, "
        "copy the file with its -wal, try `sqlite3 FILE .recover`, and only then move it away; "
        "what it held must be mirrored again by a comparison of the stores"
    ),
    versions=(
        """
CREATE TABLE entry (
  seq INTEGER PRIMARY KEY,
  stage INTEGER NOT NULL,
  waits INTEGER NOT NULL,
  op TEXT NOT NULL,
  bucket TEXT NOT NULL,
  key TEXT NOT NULL,
  md5 TEXT,
  sha256 TEXT,
  size INTEGER,
  etag TEXT NOT NULL,
  attempts INTEGER NOT NULL,
  due_at REAL NOT NULL,
  enqueued_at REAL NOT NULL,
  error TEXT NOT NULL
) STRICT;
CREATE INDEX entry_by_key ON entry (bucket, key, stage);
CREATE INDEX entry_by_stage ON entry (stage, waits);
CREATE INDEX entry_waiting ON entry (due_at) WHERE stage = 1 AND waits = 1;
CREATE TABLE meta (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  last_stamp INTEGER NOT NULL,
  pending INTEGER NOT NULL,
  pending_bytes INTEGER NOT NULL,
  failed INTEGER NOT NULL
) STRICT;
INSERT INTO meta VALUES (1, 0, 0, 0, 0)
""",
        # The tables stay. Entries of S3 objects (op put-object, delete-object; a size without digests) are not to be
        # read by a program that would take them for blobs.
        "SELECT 1",
    ),
)
