"""boto3 with default settings: checksums of its own accord, multipart above 8 MiB in threads, ListObjectsV2."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import boto3
from boto3.s3.transfer import TransferConfig
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.clients.verbs import REGION, Client, Head, Listing, Target

ALL_USERS = "http://acs.amazonaws.com/groups/global/AllUsers"


def http_status(error: ClientError) -> int:
    return int(error.response["ResponseMetadata"]["HTTPStatusCode"])


def options(target: Target) -> dict[str, Any]:
    """Of `client()`, for boto3 and aiobotocore alike."""
    found: dict[str, Any] = {"endpoint_url": target.url, "region_name": REGION}
    if target.secure:
        found["verify"] = target.ca_file
    if not target.anonymous:
        found |= {"aws_access_key_id": target.key, "aws_secret_access_key": target.secret}
    return found


class Boto3(Client):
    def __init__(self, target: Target) -> None:
        super().__init__(target)
        unsigned = {"config": Config(signature_version=UNSIGNED)} if target.anonymous else {}
        self.s3 = boto3.client("s3", **options(target), **unsigned)

    def close(self) -> None:
        self.s3.close()

    def create_bucket(self, bucket: str) -> None:
        self.s3.create_bucket(Bucket=bucket)

    def list_buckets(self) -> list[str]:
        return [each["Name"] for each in self.s3.list_buckets()["Buckets"]]

    def delete_bucket(self, bucket: str) -> None:
        self.s3.delete_bucket(Bucket=bucket)

    def put(self, bucket: str, key: str, data: bytes, content_type: str = "", **metadata: str) -> None:
        extra = {"ContentType": content_type} if content_type else {}
        self.s3.put_object(Bucket=bucket, Key=key, Body=data, Metadata=metadata, **extra)

    def get(self, bucket: str, key: str) -> bytes:
        found: bytes = self.s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        return found

    def head(self, bucket: str, key: str) -> Head:
        found = self.s3.head_object(Bucket=bucket, Key=key)
        return Head(found["ContentLength"], found["ETag"].strip('"'), found["ContentType"], found["Metadata"])

    def delete(self, bucket: str, key: str) -> None:
        self.s3.delete_object(Bucket=bucket, Key=key)

    def upload_file(self, bucket: str, key: str, path: Path) -> None:
        self.s3.upload_file(str(path), bucket, key)

    def download_file(self, bucket: str, key: str, path: Path) -> None:
        self.s3.download_file(bucket, key, str(path))

    def list(self, bucket: str, prefix: str = "", delimiter: str = "") -> Listing:
        return self._pages("list_objects_v2", bucket, prefix, delimiter)

    def list_v1(self, bucket: str, prefix: str = "") -> Listing:
        return self._pages("list_objects", bucket, prefix, "")

    def _pages(self, call: str, bucket: str, prefix: str, delimiter: str) -> Listing:
        keys, prefixes = [], []
        extra = {"Delimiter": delimiter} if delimiter else {}
        for page in self.s3.get_paginator(call).paginate(Bucket=bucket, Prefix=prefix, **extra):
            keys += [each["Key"] for each in page.get("Contents", [])]
            prefixes += [each["Prefix"] for each in page.get("CommonPrefixes", [])]
        return Listing(keys, prefixes)

    def range(self, bucket: str, key: str, first: int, last: int) -> bytes:
        answer = self.s3.get_object(Bucket=bucket, Key=key, Range=f"bytes={first}-{last}")
        found: bytes = answer["Body"].read()
        return found

    def copy(self, bucket: str, key: str, to_key: str) -> None:
        self.s3.copy_object(Bucket=bucket, Key=to_key, CopySource={"Bucket": bucket, "Key": key})

    def copy_in_parts(self, bucket: str, key: str, to_key: str) -> None:
        parts = TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20)
        self.s3.copy({"Bucket": bucket, "Key": key}, bucket, to_key, Config=parts)

    def delete_many(self, bucket: str, keys: Sequence[str]) -> None:
        answer = self.s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key} for key in keys]})
        if len(answer.get("Deleted", [])) != len(keys):
            raise AssertionError(str(answer))

    def presigned_get(self, bucket: str, key: str) -> str:
        return str(self.s3.generate_presigned_url("get_object", {"Bucket": bucket, "Key": key}, 300))

    def presigned_put(self, bucket: str, key: str) -> str:
        params = {"Bucket": bucket, "Key": key, "ContentType": "application/octet-stream"}
        return str(self.s3.generate_presigned_url("put_object", params, 300))

    def put_if_absent(self, bucket: str, key: str, data: bytes) -> bool:
        return self._put_if(bucket, key, data, IfNoneMatch="*")

    def put_if_same(self, bucket: str, key: str, data: bytes, etag: str) -> bool:
        return self._put_if(bucket, key, data, IfMatch=f'"{etag}"')

    def _put_if(self, bucket: str, key: str, data: bytes, **condition: str) -> bool:
        try:
            self.s3.put_object(Bucket=bucket, Key=key, Body=data, **condition)
        except ClientError as error:
            if http_status(error) == 412:
                return False
            raise
        return True

    def get_if_changed(self, bucket: str, key: str, etag: str) -> bytes | None:
        try:
            found: bytes = self.s3.get_object(Bucket=bucket, Key=key, IfNoneMatch=f'"{etag}"')["Body"].read()
        except ClientError as error:
            if http_status(error) == 304:
                return None
            raise
        return found

    def set_tags(self, bucket: str, key: str, tags: dict[str, str]) -> None:
        self.s3.put_object_tagging(Bucket=bucket, Key=key, Tagging=_tag_set(tags))

    def tags(self, bucket: str, key: str) -> dict[str, str]:
        found = self.s3.get_object_tagging(Bucket=bucket, Key=key)
        return {tag["Key"]: tag["Value"] for tag in found["TagSet"]}

    def set_bucket_tags(self, bucket: str, tags: dict[str, str]) -> None:
        self.s3.put_bucket_tagging(Bucket=bucket, Tagging=_tag_set(tags))

    def bucket_tags(self, bucket: str) -> dict[str, str]:
        return {tag["Key"]: tag["Value"] for tag in self.s3.get_bucket_tagging(Bucket=bucket)["TagSet"]}

    def make_public(self, bucket: str, key: str) -> None:
        self.s3.put_object_acl(Bucket=bucket, Key=key, ACL="public-read")

    def is_public(self, bucket: str, key: str) -> bool:
        grants = self.s3.get_object_acl(Bucket=bucket, Key=key)["Grants"]
        return any(grant["Grantee"].get("URI") == ALL_USERS for grant in grants)

    def set_policy(self, bucket: str, policy: str) -> None:
        self.s3.put_bucket_policy(Bucket=bucket, Policy=policy)

    def policy(self, bucket: str) -> str:
        return str(self.s3.get_bucket_policy(Bucket=bucket)["Policy"])

    def delete_policy(self, bucket: str) -> None:
        self.s3.delete_bucket_policy(Bucket=bucket)

    def set_cors(self, bucket: str, origin: str) -> None:
        rules = {"CORSRules": [{"AllowedMethods": ["GET"], "AllowedOrigins": [origin]}]}
        self.s3.put_bucket_cors(Bucket=bucket, CORSConfiguration=rules)

    def cors_origins(self, bucket: str) -> list[str]:
        rules = self.s3.get_bucket_cors(Bucket=bucket)["CORSRules"]
        return [origin for rule in rules for origin in rule["AllowedOrigins"]]

    def set_expiry(self, bucket: str, prefix: str, days: int) -> None:
        rule = {"ID": "old", "Status": "Enabled", "Filter": {"Prefix": prefix}, "Expiration": {"Days": days}}
        self.s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": [rule]})

    def expiries(self, bucket: str) -> dict[str, int]:
        rules = self.s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
        return {rule["Filter"]["Prefix"]: rule["Expiration"]["Days"] for rule in rules}

    def purge(self, bucket: str) -> None:
        held = boto3.resource("s3", **options(self.target)).Bucket(bucket)
        held.objects.all().delete()
        held.delete()


def _tag_set(tags: dict[str, str]) -> dict[str, Any]:
    return {"TagSet": [{"Key": key, "Value": value} for key, value in tags.items()]}


ADAPTER = Boto3
