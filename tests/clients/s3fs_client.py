"""s3fs with default settings: a file system over aiobotocore."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import s3fs
from botocore.exceptions import ClientError
from fsspec.asyn import sync

from tests.clients.boto3_client import http_status
from tests.clients.verbs import REGION, Client, Head, Listing, NotOffered, Target


class S3fs(Client):
    def __init__(self, target: Target) -> None:
        super().__init__(target)
        client = {"region_name": REGION} | ({"verify": target.ca_file} if target.secure else {})
        access = {"anon": True} if target.anonymous else {"key": target.key, "secret": target.secret}
        self.fs = s3fs.S3FileSystem(
            endpoint_url=target.url, client_kwargs=client, skip_instance_cache=True, use_listings_cache=False, **access
        )

    def create_bucket(self, bucket: str) -> None:
        self.fs.mkdir(bucket)

    def list_buckets(self) -> list[str]:
        return list(self.fs.ls("", detail=False, refresh=True))

    def delete_bucket(self, bucket: str) -> None:
        self.fs.rmdir(bucket)

    def put(self, bucket: str, key: str, data: bytes, content_type: str = "", **metadata: str) -> None:
        extra = {"ContentType": content_type} if content_type else {}
        self.fs.pipe_file(f"{bucket}/{key}", data, Metadata=metadata, **extra)

    def get(self, bucket: str, key: str) -> bytes:
        found: bytes = self.fs.cat_file(f"{bucket}/{key}")
        return found

    def head(self, bucket: str, key: str) -> Head:
        found = self.fs.info(f"{bucket}/{key}", refresh=True)
        metadata = self.fs.metadata(f"{bucket}/{key}", refresh=True)
        return Head(found["size"], found["ETag"].strip('"'), found["ContentType"], metadata)

    def delete(self, bucket: str, key: str) -> None:
        self.fs.rm_file(f"{bucket}/{key}")

    def upload_file(self, bucket: str, key: str, path: Path) -> None:
        self.fs.put_file(str(path), f"{bucket}/{key}")

    def download_file(self, bucket: str, key: str, path: Path) -> None:
        self.fs.get_file(f"{bucket}/{key}", str(path))

    def list(self, bucket: str, prefix: str = "", delimiter: str = "") -> Listing:
        if not delimiter:
            found = self.fs.find(f"{bucket}/{prefix}") if prefix.endswith("/") or not prefix else None
            if found is None:
                folder, _, start = f"{bucket}/{prefix}".rpartition("/")
                found = self.fs.find(folder, prefix=start)
            return Listing([name.removeprefix(f"{bucket}/") for name in found])
        keys, prefixes = [], []
        for each in self.fs.ls(f"{bucket}/{prefix}", detail=True, refresh=True):
            name = each["name"].removeprefix(f"{bucket}/")
            (prefixes if each["type"] == "directory" else keys).append(name)
        return Listing(keys, [f"{name.rstrip('/')}/" for name in prefixes])

    def range(self, bucket: str, key: str, first: int, last: int) -> bytes:
        found: bytes = self.fs.cat_file(f"{bucket}/{key}", start=first, end=last + 1)
        return found

    def copy(self, bucket: str, key: str, to_key: str) -> None:
        self.fs.cp_file(f"{bucket}/{key}", f"{bucket}/{to_key}")

    def delete_many(self, bucket: str, keys: Sequence[str]) -> None:
        # rm() would take the stars in keys for patterns; this is what it does with what the patterns gave.
        sync(self.fs.loop, self.fs._bulk_delete, [f"{bucket}/{key}" for key in keys])

    def presigned_get(self, bucket: str, key: str) -> str:
        return str(self.fs.sign(f"{bucket}/{key}", expiration=300))

    def put_if_absent(self, bucket: str, key: str, data: bytes) -> bool:
        try:
            self.fs.pipe_file(f"{bucket}/{key}", data, mode="create")
        except FileExistsError:
            return False
        except OSError as error:
            if isinstance(error.__cause__, ClientError) and http_status(error.__cause__) == 412:
                return False
            raise
        return True

    def set_tags(self, bucket: str, key: str, tags: dict[str, str]) -> None:
        self.fs.put_tags(f"{bucket}/{key}", tags)

    def tags(self, bucket: str, key: str) -> dict[str, str]:
        return dict(self.fs.get_tags(f"{bucket}/{key}"))

    def make_public(self, bucket: str, key: str) -> None:
        self.fs.chmod(f"{bucket}/{key}", acl="public-read")

    def upload_tree(self, folder: Path, bucket: str, prefix: str) -> None:
        self.fs.put(f"{folder}/", f"{bucket}/{prefix}/", recursive=True)

    def download_tree(self, bucket: str, prefix: str, folder: Path) -> None:
        self.fs.get(f"{bucket}/{prefix}/", f"{folder}/", recursive=True)

    def presigned_put(self, bucket: str, key: str) -> str:
        raise NotOffered

    def purge(self, bucket: str) -> None:
        self.fs.rm(bucket, recursive=True)


ADAPTER = S3fs
