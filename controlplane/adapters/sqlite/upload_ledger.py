"""The upload ledger in an SQLite file of its own: one process, the agent, writes it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from controlplane.adapters.sqlite.reader import ReaderThread
from controlplane.adapters.sqlite.schema import Schema
from controlplane.adapters.sqlite.write_session import WriteSession
from controlplane.adapters.sqlite.writer import WriterThread
from controlplane.model.content import Content, Md5, Sha256
from controlplane.model.keys import Bucket, Key
from controlplane.ports.upload_ledger import Upload

UPLOADS = Schema(
    what="ledger of uploads",
    application_id=0x4D725531,  # MrU1
    durable=True,
    advice=(
        "it holds nothing but which uploads in parts are unfinished: stop Millrace and delete the file; "
        "those copies begin anew, and a lifecycle rule at the target removes the parts that were sent"
    ),
    versions=(
        """
CREATE TABLE upload (
  rule TEXT NOT NULL,
  bucket TEXT NOT NULL,
  key TEXT NOT NULL,
  upload_id TEXT NOT NULL,
  version TEXT NOT NULL,
  md5 TEXT NOT NULL,
  sha256 TEXT NOT NULL,
  size INTEGER NOT NULL,
  part_bytes INTEGER NOT NULL,
  part_md5s TEXT NOT NULL,
  begun_at REAL NOT NULL,
  PRIMARY KEY (rule, bucket, key)
) STRICT
""",
    ),
)


class SqliteUploadLedger:
    """Implements ports.upload_ledger.UploadLedger. What is remembered is on stable storage when a call returns; it is
    kept in memory too, since every deletion asks for it."""

    def __init__(self, path: Path) -> None:
        self._writer = WriterThread(WriteSession(path, UPLOADS))
        self._reader = ReaderThread(path, UPLOADS)
        self._known: dict[tuple[str, Bucket, Key], Upload] = {}

    async def open(self) -> None:
        """Raises Corrupt, Rejected, Unavailable, StorageFull."""
        await self._writer.open()
        try:
            await self._reader.open()
            self._known = {_place(upload): upload for upload in await self._reader.read(_read)}
        except BaseException:
            await self._writer.aclose()
            raise

    async def record(self, upload: Upload) -> None:
        row = (
            upload.rule, upload.bucket, upload.key, upload.upload_id, upload.version, upload.content.md5,
            upload.content.sha256, upload.content.size, upload.part_bytes, json.dumps(upload.part_md5s),
            upload.begun_at,
        )  # fmt: skip
        await self._writer.submit(
            lambda session: session.connection.execute(
                "INSERT OR REPLACE INTO upload VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row
            ).close()
        )
        self._known[_place(upload)] = upload

    async def find(self, rule: str, bucket: Bucket, key: Key) -> Upload | None:
        return self._known.get((rule, bucket, key))

    async def forget(self, rule: str, bucket: Bucket, key: Key) -> None:
        place = rule, bucket, key
        if place in self._known:
            await self._writer.submit(
                lambda session: session.connection.execute(
                    "DELETE FROM upload WHERE rule = ? AND bucket = ? AND key = ?", place
                ).close()
            )
            self._known.pop(place, None)

    async def all(self) -> Sequence[Upload]:
        return sorted(self._known.values(), key=lambda upload: upload.begun_at)

    async def aclose(self) -> None:
        """Idempotent."""
        try:
            await self._writer.aclose()
        finally:
            await self._reader.aclose()


def _place(upload: Upload) -> tuple[str, Bucket, Key]:
    return upload.rule, upload.bucket, upload.key


def _read(connection: sqlite3.Connection) -> list[Upload]:
    return [_upload(row) for row in connection.execute("SELECT * FROM upload").fetchall()]


def _upload(row: tuple[Any, ...]) -> Upload:
    rule, bucket, key, upload_id, version, md5, sha256, size, part_bytes, part_md5s, begun_at = row
    content = Content(Md5(md5), Sha256(sha256), size)
    md5s = tuple(Md5(each) for each in json.loads(part_md5s))
    return Upload(rule, Bucket(bucket), Key(key), upload_id, version, content, part_bytes, md5s, begun_at)
