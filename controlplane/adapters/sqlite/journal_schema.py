"""The journal's tables (docs/decisions/0001-manifest-and-journal-format.md).

Stages of an entry. A (bucket, key, rule) with pending entries has exactly one that is first: its oldest pending.
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
    durable=True,
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
        # An entry is about one target: that of its rule. Entries of S3 objects that were written before name none; the
        # mirror makes one of each of their rules out of them. `slot` is a place in model/tally.py LAG_BOUNDS_S.
        """
ALTER TABLE entry ADD COLUMN rule TEXT NOT NULL DEFAULT '';
ALTER TABLE entry ADD COLUMN failure TEXT NOT NULL DEFAULT '';
DROP INDEX entry_by_key;
DROP INDEX entry_by_stage;
DROP INDEX entry_waiting;
CREATE INDEX entry_by_key ON entry (bucket, key, rule, stage);
CREATE INDEX entry_by_stage ON entry (stage, waits, rule);
CREATE INDEX entry_failed ON entry (seq) WHERE stage = 2;
CREATE INDEX entry_waiting ON entry (due_at, rule) WHERE stage = 1 AND waits = 1;
CREATE TABLE rule (
  name TEXT PRIMARY KEY,
  pending INTEGER NOT NULL,
  pending_bytes INTEGER NOT NULL,
  failed INTEGER NOT NULL,
  copied INTEGER NOT NULL,
  copied_bytes INTEGER NOT NULL,
  lag_total REAL NOT NULL,
  progress_at REAL NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO rule SELECT '', pending, pending_bytes, failed, 0, 0, 0.0, 0.0 FROM meta WHERE pending + failed > 0;
CREATE TABLE lag (
  rule TEXT NOT NULL,
  slot INTEGER NOT NULL,
  copies INTEGER NOT NULL,
  PRIMARY KEY (rule, slot)
) STRICT, WITHOUT ROWID;
CREATE TABLE pause (rule TEXT PRIMARY KEY, since REAL NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE dropped (
  seq INTEGER PRIMARY KEY,
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
  error TEXT NOT NULL,
  rule TEXT NOT NULL,
  failure TEXT NOT NULL,
  reason TEXT NOT NULL,
  dropped_at REAL NOT NULL
) STRICT
""",
    ),
)
