"""aiobotocore with default settings: botocore's requests over aiohttp."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore import UNSIGNED
from botocore.exceptions import ClientError

from tests.clients.boto3_client import ALL_USERS, http_status, options
from tests.clients.verbs import Client, Head, Listing, Target

T = TypeVar("T")
PART_BYTES = 16 << 20


class Aiobotocore(Client):
    def __init__(self, target: Target) -> None:
        super().__init__(target)
        self._loop = asyncio.new_event_loop()
        self._stack = contextlib.AsyncExitStack()
        unsigned = {"config": AioConfig(signature_version=UNSIGNED)} if target.anonymous else {}
        made = get_session().create_client("s3", **options(target), **unsigned)
        self.s3 = self._wait(self._stack.enter_async_context(made))

    def close(self) -> None:
        self._wait(self._stack.aclose())
        self._loop.close()

    def _wait(self, coming: Awaitable[T]) -> T:
        async def whole() -> T:
            return await coming

        return self._loop.run_until_complete(whole())

    def _call(self, name: str, bucket: str, **arguments: Any) -> Any:
        return self._wait(getattr(self.s3, name)(Bucket=bucket, **arguments))

    def create_bucket(self, bucket: str) -> None:
        self._call("create_bucket", bucket)

    def list_buckets(self) -> list[str]:
        return [each["Name"] for each in self._wait(self.s3.list_buckets())["Buckets"]]

    def delete_bucket(self, bucket: str) -> None:
        self._call("delete_bucket", bucket)

    def put(self, bucket: str, key: str, data: bytes, content_type: str = "", **metadata: str) -> None:
        extra = {"ContentType": content_type} if content_type else {}
        self._call("put_object", bucket, Key=key, Body=data, Metadata=metadata, **extra)

    def get(self, bucket: str, key: str) -> bytes:
        return self._body(bucket, Key=key)

    def _body(self, bucket: str, **arguments: Any) -> bytes:
        async def whole() -> bytes:
            answer = await self.s3.get_object(Bucket=bucket, **arguments)
            async with answer["Body"] as body:
                found: bytes = await body.read()
                return found

        return self._wait(whole())

    def head(self, bucket: str, key: str) -> Head:
        found = self._call("head_object", bucket, Key=key)
        return Head(found["ContentLength"], found["ETag"].strip('"'), found["ContentType"], found["Metadata"])

    def delete(self, bucket: str, key: str) -> None:
        self._call("delete_object", bucket, Key=key)

    def upload_file(self, bucket: str, key: str, path: Path) -> None:
        upload = self._call("create_multipart_upload", bucket, Key=key)["UploadId"]
        named = {"Key": key, "UploadId": upload}
        parts: list[dict[str, Any]] = []
        with path.open("rb") as file:
            while piece := file.read(PART_BYTES):
                number = len(parts) + 1
                etag = self._call("upload_part", bucket, PartNumber=number, Body=piece, **named)["ETag"]
                parts.append({"PartNumber": number, "ETag": etag})
        self._call("complete_multipart_upload", bucket, MultipartUpload={"Parts": parts}, **named)

    def download_file(self, bucket: str, key: str, path: Path) -> None:
        async def whole() -> None:
            answer = await self.s3.get_object(Bucket=bucket, Key=key)
            with path.open("wb") as file:
                async with answer["Body"] as body:
                    async for piece in body.iter_chunks(1 << 20):
                        file.write(piece)

        self._wait(whole())

    def list(self, bucket: str, prefix: str = "", delimiter: str = "") -> Listing:
        return self._pages("list_objects_v2", bucket, prefix, delimiter)

    def list_v1(self, bucket: str, prefix: str = "") -> Listing:
        return self._pages("list_objects", bucket, prefix, "")

    def _pages(self, call: str, bucket: str, prefix: str, delimiter: str) -> Listing:
        async def whole() -> Listing:
            keys, prefixes = [], []
            extra = {"Delimiter": delimiter} if delimiter else {}
            async for page in self.s3.get_paginator(call).paginate(Bucket=bucket, Prefix=prefix, **extra):
                keys += [each["Key"] for each in page.get("Contents", [])]
                prefixes += [each["Prefix"] for each in page.get("CommonPrefixes", [])]
            return Listing(keys, prefixes)

        return self._wait(whole())

    def range(self, bucket: str, key: str, first: int, last: int) -> bytes:
        return self._body(bucket, Key=key, Range=f"bytes={first}-{last}")

    def copy(self, bucket: str, key: str, to_key: str) -> None:
        self._call("copy_object", bucket, Key=to_key, CopySource={"Bucket": bucket, "Key": key})

    def delete_many(self, bucket: str, keys: Sequence[str]) -> None:
        answer = self._call("delete_objects", bucket, Delete={"Objects": [{"Key": key} for key in keys]})
        if len(answer.get("Deleted", [])) != len(keys):
            raise AssertionError(str(answer))

    def presigned_get(self, bucket: str, key: str) -> str:
        return str(self._wait(self.s3.generate_presigned_url("get_object", {"Bucket": bucket, "Key": key}, 300)))

    def presigned_put(self, bucket: str, key: str) -> str:
        params = {"Bucket": bucket, "Key": key, "ContentType": "application/octet-stream"}
        return str(self._wait(self.s3.generate_presigned_url("put_object", params, 300)))

    def put_if_absent(self, bucket: str, key: str, data: bytes) -> bool:
        return self._put_if(bucket, key, data, IfNoneMatch="*")

    def put_if_same(self, bucket: str, key: str, data: bytes, etag: str) -> bool:
        return self._put_if(bucket, key, data, IfMatch=f'"{etag}"')

    def _put_if(self, bucket: str, key: str, data: bytes, **condition: str) -> bool:
        try:
            self._call("put_object", bucket, Key=key, Body=data, **condition)
        except ClientError as error:
            if http_status(error) == 412:
                return False
            raise
        return True

    def get_if_changed(self, bucket: str, key: str, etag: str) -> bytes | None:
        try:
            return self._body(bucket, Key=key, IfNoneMatch=f'"{etag}"')
        except ClientError as error:
            if http_status(error) == 304:
                return None
            raise

    def set_tags(self, bucket: str, key: str, tags: dict[str, str]) -> None:
        tag_set = [{"Key": name, "Value": value} for name, value in tags.items()]
        self._call("put_object_tagging", bucket, Key=key, Tagging={"TagSet": tag_set})

    def tags(self, bucket: str, key: str) -> dict[str, str]:
        found = self._call("get_object_tagging", bucket, Key=key)
        return {tag["Key"]: tag["Value"] for tag in found["TagSet"]}

    def make_public(self, bucket: str, key: str) -> None:
        self._call("put_object_acl", bucket, Key=key, ACL="public-read")

    def is_public(self, bucket: str, key: str) -> bool:
        grants = self._call("get_object_acl", bucket, Key=key)["Grants"]
        return any(grant["Grantee"].get("URI") == ALL_USERS for grant in grants)

    def set_policy(self, bucket: str, policy: str) -> None:
        self._call("put_bucket_policy", bucket, Policy=policy)

    def policy(self, bucket: str) -> str:
        return str(self._call("get_bucket_policy", bucket)["Policy"])

    def delete_policy(self, bucket: str) -> None:
        self._call("delete_bucket_policy", bucket)


ADAPTER = Aiobotocore
