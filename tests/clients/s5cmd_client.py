"""s5cmd with default settings: many requests at once, ListObjectsV2; --use-list-objects-v1 for the other one."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.clients.verbs import REGION, ClientFailed, Command, Head, Listing


class S5cmd(Command):
    program = str(Path(sys.executable).with_name("s5cmd"))
    never_in_keys = "?*"

    def environ(self) -> dict[str, str]:
        target = self.target
        found = super().environ() | {"AWS_REGION": REGION}
        if target.secure:
            found["AWS_CA_BUNDLE"] = target.ca_file
        if not target.anonymous:
            found |= {"AWS_ACCESS_KEY_ID": target.key, "AWS_SECRET_ACCESS_KEY": target.secret}
        return found

    def _s5cmd(self, *arguments: str, before: Sequence[str] = ()) -> list[Any]:
        unsigned = ["--no-sign-request"] if self.target.anonymous else []
        common = ["--endpoint-url", self.target.url, "--retry-count", "1", "--json", *unsigned, *before]
        return [json.loads(line) for line in self.run(*common, *arguments).decode().splitlines() if line[:1] == "{"]

    def create_bucket(self, bucket: str) -> None:
        self._s5cmd("mb", f"s3://{bucket}")

    def list_buckets(self) -> list[str]:
        return [each["name"].removeprefix("s3://") for each in self._s5cmd("ls")]

    def delete_bucket(self, bucket: str) -> None:
        self._s5cmd("rb", f"s3://{bucket}")

    def put(self, bucket: str, key: str, data: bytes, content_type: str = "", **metadata: str) -> None:
        extra = ["--content-type", content_type] if content_type else []
        extra += [word for name, value in metadata.items() for word in ("--metadata", f"{name}={value}")]
        self._s5cmd("cp", *extra, str(self.scratch(data)), f"s3://{bucket}/{key}")

    def get(self, bucket: str, key: str) -> bytes:
        self._s5cmd("cp", "--raw", f"s3://{bucket}/{key}", str(self.scratch()))
        return (self.folder / "scratch").read_bytes()

    def head(self, bucket: str, key: str) -> Head:
        (found,) = self._s5cmd("head", f"s3://{bucket}/{key}")
        return Head(found["size"], found["etag"].strip('"'), found.get("content_type", ""), found.get("metadata", {}))

    def delete(self, bucket: str, key: str) -> None:
        self._s5cmd("rm", "--raw", f"s3://{bucket}/{key}")

    def upload_file(self, bucket: str, key: str, path: Path) -> None:
        self._s5cmd("cp", "--part-size", "8", str(path), f"s3://{bucket}/{key}")

    def download_file(self, bucket: str, key: str, path: Path) -> None:
        self._s5cmd("cp", "--part-size", "8", f"s3://{bucket}/{key}", str(path))

    def list(self, bucket: str, prefix: str = "", delimiter: str = "") -> Listing:
        return self._listing(bucket, prefix, delimiter)

    def list_v1(self, bucket: str, prefix: str = "") -> Listing:
        return self._listing(bucket, prefix, "", "--use-list-objects-v1")

    def _listing(self, bucket: str, prefix: str, delimiter: str, *options: str) -> Listing:
        pattern = f"s3://{bucket}/{prefix}" if delimiter else f"s3://{bucket}/{prefix}*"
        try:
            found = self._s5cmd("ls", pattern, before=options)
        except ClientFailed as error:
            if "no object found" in str(error):  # an empty listing is a failure to it
                return Listing([])
            raise
        named = [(each["key"].removeprefix(f"s3://{bucket}/"), each["type"] == "directory") for each in found]
        keys = [name for name, is_dir in named if not is_dir]
        return Listing(keys, [name for name, is_dir in named if is_dir])

    def copy(self, bucket: str, key: str, to_key: str) -> None:
        self._s5cmd("cp", "--raw", f"s3://{bucket}/{key}", f"s3://{bucket}/{to_key}")

    def delete_many(self, bucket: str, keys: Sequence[str]) -> None:
        self._s5cmd("rm", "--raw", *(f"s3://{bucket}/{key}" for key in keys))

    def presigned_get(self, bucket: str, key: str) -> str:
        where = ["--endpoint-url", self.target.url]
        return self.run(*where, "presign", "--expire", "5m", f"s3://{bucket}/{key}").decode().strip()

    def upload_tree(self, folder: Path, bucket: str, prefix: str) -> None:
        self._s5cmd("cp", f"{folder}/", f"s3://{bucket}/{prefix}/")

    def download_tree(self, bucket: str, prefix: str, folder: Path) -> None:
        self._s5cmd("cp", f"s3://{bucket}/{prefix}/*", f"{folder}/")

    def sync_tree(self, folder: Path, bucket: str, prefix: str) -> None:
        self._s5cmd("sync", "--delete", f"{folder}/", f"s3://{bucket}/{prefix}/")

    def purge(self, bucket: str) -> None:
        self._s5cmd("rm", f"s3://{bucket}/*")
        self._s5cmd("rb", f"s3://{bucket}")


ADAPTER = S5cmd
