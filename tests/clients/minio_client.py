"""minio-py with default settings: asks for the bucket's location before it signs."""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import urllib3
from minio import Minio
from minio.commonconfig import ENABLED, CopySource, Filter, Tags
from minio.deleteobjects import DeleteObject
from minio.error import ServerError
from minio.lifecycleconfig import Expiration, LifecycleConfig, Rule

from tests.clients.verbs import Client, Head, Listing, Target


class MinioPy(Client):
    def __init__(self, target: Target) -> None:
        super().__init__(target)
        pool = None
        if target.secure:
            pool = urllib3.PoolManager(ca_certs=target.ca_file, cert_reqs="CERT_REQUIRED")
        self.s3 = Minio(target.host, target.key or None, target.secret or None, secure=target.secure, http_client=pool)

    def create_bucket(self, bucket: str) -> None:
        self.s3.make_bucket(bucket)

    def list_buckets(self) -> list[str]:
        return [each.name for each in self.s3.list_buckets()]

    def delete_bucket(self, bucket: str) -> None:
        self.s3.remove_bucket(bucket)

    def put(self, bucket: str, key: str, data: bytes, content_type: str = "", **metadata: str) -> None:
        kind = content_type or "application/octet-stream"
        self.s3.put_object(bucket, key, io.BytesIO(data), len(data), kind, metadata=dict(metadata))

    def get(self, bucket: str, key: str) -> bytes:
        return self._read(bucket, key)

    def _read(self, bucket: str, key: str, **arguments: int) -> bytes:
        answer = self.s3.get_object(bucket, key, **arguments)
        try:
            return bytes(answer.read())
        finally:
            answer.close()
            answer.release_conn()

    def head(self, bucket: str, key: str) -> Head:
        found = self.s3.stat_object(bucket, key)
        named = {k.lower().removeprefix("x-amz-meta-"): v for k, v in (found.metadata or {}).items()}
        return Head(found.size or 0, found.etag or "", found.content_type or "", named)

    def delete(self, bucket: str, key: str) -> None:
        self.s3.remove_object(bucket, key)

    def upload_file(self, bucket: str, key: str, path: Path) -> None:
        self.s3.fput_object(bucket, key, str(path), part_size=8 << 20)

    def download_file(self, bucket: str, key: str, path: Path) -> None:
        self.s3.fget_object(bucket, key, str(path))

    def list(self, bucket: str, prefix: str = "", delimiter: str = "") -> Listing:
        return self._listing(bucket, prefix, delimiter, v1=False)

    def list_v1(self, bucket: str, prefix: str = "") -> Listing:
        return self._listing(bucket, prefix, "", v1=True)

    def _listing(self, bucket: str, prefix: str, delimiter: str, *, v1: bool) -> Listing:
        found = list(self.s3.list_objects(bucket, prefix or None, recursive=not delimiter, use_api_v1=v1))
        return Listing([o.object_name for o in found if not o.is_dir], [o.object_name for o in found if o.is_dir])

    def range(self, bucket: str, key: str, first: int, last: int) -> bytes:
        return self._read(bucket, key, offset=first, length=last - first + 1)

    def copy(self, bucket: str, key: str, to_key: str) -> None:
        self.s3.copy_object(bucket, to_key, CopySource(bucket, key))

    def copy_in_parts(self, bucket: str, key: str, to_key: str) -> None:
        # Two sources are composed by UploadPartCopy; the second is empty of what must be 5 MiB: it is the last one.
        from minio.commonconfig import ComposeSource

        half = ComposeSource(bucket, key, offset=0, length=6 << 20)
        rest = ComposeSource(bucket, key, offset=6 << 20, length=5 << 20)
        self.s3.compose_object(bucket, to_key, [half, rest])

    def delete_many(self, bucket: str, keys: Sequence[str]) -> None:
        errors = list(self.s3.remove_objects(bucket, [DeleteObject(key) for key in keys]))
        if errors:
            raise AssertionError(str(errors))

    def presigned_get(self, bucket: str, key: str) -> str:
        return self.s3.presigned_get_object(bucket, key, timedelta(minutes=5))

    def presigned_put(self, bucket: str, key: str) -> str:
        return self.s3.presigned_put_object(bucket, key, timedelta(minutes=5))

    def get_if_changed(self, bucket: str, key: str, etag: str) -> bytes | None:
        try:
            answer = self.s3.get_object(bucket, key, request_headers={"If-None-Match": f'"{etag}"'})
        except ServerError as error:
            if error.status_code == 304:
                return None
            raise
        with answer:
            return bytes(answer.read())

    def set_tags(self, bucket: str, key: str, tags: dict[str, str]) -> None:
        self.s3.set_object_tags(bucket, key, _tags(tags, for_object=True))

    def tags(self, bucket: str, key: str) -> dict[str, str]:
        return dict(self.s3.get_object_tags(bucket, key) or {})

    def set_bucket_tags(self, bucket: str, tags: dict[str, str]) -> None:
        self.s3.set_bucket_tags(bucket, _tags(tags, for_object=False))

    def bucket_tags(self, bucket: str) -> dict[str, str]:
        return dict(self.s3.get_bucket_tags(bucket) or {})

    def set_policy(self, bucket: str, policy: str) -> None:
        self.s3.set_bucket_policy(bucket, policy)

    def policy(self, bucket: str) -> str:
        return self.s3.get_bucket_policy(bucket)

    def delete_policy(self, bucket: str) -> None:
        self.s3.delete_bucket_policy(bucket)

    def set_expiry(self, bucket: str, prefix: str, days: int) -> None:
        rule = Rule(ENABLED, rule_filter=Filter(prefix=prefix), rule_id="old", expiration=Expiration(days=days))
        self.s3.set_bucket_lifecycle(bucket, LifecycleConfig([rule]))

    def expiries(self, bucket: str) -> dict[str, int]:
        found = self.s3.get_bucket_lifecycle(bucket)
        rules = found.rules if found else []
        return {rule.rule_filter.prefix: rule.expiration.days for rule in rules}


def _tags(tags: dict[str, str], *, for_object: bool) -> Tags:
    found = Tags.new_object_tags() if for_object else Tags.new_bucket_tags()
    found.update(tags)
    return found


ADAPTER = MinioPy
