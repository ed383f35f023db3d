"""obstore with default settings: the Rust crate object_store. It has no operations on buckets, lists by version 2."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import obstore
from obstore.exceptions import AlreadyExistsError, NotModifiedError, PreconditionError
from obstore.store import S3Store

from tests.clients.verbs import REGION, Client, Head, Listing, Target


class Obstore(Client):
    def __init__(self, target: Target) -> None:
        super().__init__(target)
        self._stores: dict[str, S3Store] = {}

    def _store(self, bucket: str) -> S3Store:
        if bucket not in self._stores:
            target = self.target
            access: dict[str, Any] = {"skip_signature": True}
            if not target.anonymous:
                access = {"access_key_id": target.key, "secret_access_key": target.secret}
            options: dict[str, Any] = {"allow_http": not target.secure, "timeout": "60s"}
            if target.secure:
                options["root_certificate"] = Path(target.ca_file).read_bytes()
            self._stores[bucket] = S3Store(
                bucket, endpoint=target.url, region=REGION, client_options=options, conditional_put="etag",
                retry_config={"max_retries": 1}, **access,
            )  # fmt: skip
        return self._stores[bucket]

    def put(self, bucket: str, key: str, data: bytes, content_type: str = "", **metadata: str) -> None:
        attributes: dict[str, str] = dict(metadata) | ({"Content-Type": content_type} if content_type else {})
        obstore.put(self._store(bucket), key, data, attributes=attributes or None)

    def get(self, bucket: str, key: str) -> bytes:
        return bytes(obstore.get(self._store(bucket), key).bytes())

    def head(self, bucket: str, key: str) -> Head:
        answer = obstore.get(self._store(bucket), key, options={"head": True})
        named = {str(k): str(v) for k, v in answer.attributes.items()}
        return Head(answer.meta["size"], (answer.meta["e_tag"] or "").strip('"'), named.pop("Content-Type", ""), named)

    def delete(self, bucket: str, key: str) -> None:
        obstore.delete(self._store(bucket), key)

    def upload_file(self, bucket: str, key: str, path: Path) -> None:
        obstore.put(self._store(bucket), key, path, use_multipart=True, chunk_size=8 << 20)

    def download_file(self, bucket: str, key: str, path: Path) -> None:
        with path.open("wb") as file:
            for piece in obstore.get(self._store(bucket), key).stream():
                file.write(piece)

    def list(self, bucket: str, prefix: str = "", delimiter: str = "") -> Listing:
        if delimiter:
            found = obstore.list_with_delimiter(self._store(bucket), prefix or None)
            return Listing([o["path"] for o in found["objects"]], [f"{p}/" for p in found["common_prefixes"]])
        pages = obstore.list(self._store(bucket), prefix or None)
        return Listing([o["path"] for page in pages for o in page])

    def range(self, bucket: str, key: str, first: int, last: int) -> bytes:
        return bytes(obstore.get_range(self._store(bucket), key, start=first, end=last + 1))

    def copy(self, bucket: str, key: str, to_key: str) -> None:
        obstore.copy(self._store(bucket), key, to_key)

    def delete_many(self, bucket: str, keys: Sequence[str]) -> None:
        obstore.delete(self._store(bucket), list(keys))

    def presigned_get(self, bucket: str, key: str) -> str:
        return obstore.sign(self._store(bucket), "GET", key, timedelta(minutes=5))

    def presigned_put(self, bucket: str, key: str) -> str:
        return obstore.sign(self._store(bucket), "PUT", key, timedelta(minutes=5))

    def put_if_absent(self, bucket: str, key: str, data: bytes) -> bool:
        try:
            obstore.put(self._store(bucket), key, data, mode="create")
        except AlreadyExistsError:
            return False
        return True

    def put_if_same(self, bucket: str, key: str, data: bytes, etag: str) -> bool:
        try:
            obstore.put(self._store(bucket), key, data, mode={"e_tag": f'"{etag}"'})
        except PreconditionError:
            return False
        return True

    def get_if_changed(self, bucket: str, key: str, etag: str) -> bytes | None:
        try:
            answer = obstore.get(self._store(bucket), key, options={"if_none_match": f'"{etag}"'})
        except NotModifiedError:
            return None
        return bytes(answer.bytes())


ADAPTER = Obstore
