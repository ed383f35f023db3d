"""AWS CLI version 1 with default settings: `aws s3` for files and folders, `aws s3api` for the rest."""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.clients.boto3_client import ALL_USERS
from tests.clients.verbs import REGION, ClientFailed, Command, Head, Listing


class AwsCli(Command):
    program = "aws"

    def run(self, *arguments: str, data: bytes | None = None, **environ: str) -> bytes:
        """In this process, as the `aws` script does it: to import it all takes a second every time."""
        from awscli.clidriver import create_clidriver

        before = dict(os.environ)
        # The import has set where its own data lies.
        data_path = {"AWS_DATA_PATH": before.get("AWS_DATA_PATH", "")}
        os.environ.clear()
        os.environ.update(self.environ() | data_path)
        said, errors = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
        try:
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(errors):
                try:
                    code = create_clidriver().main(list(arguments))
                except SystemExit as ended:  # argparse does
                    code = ended.code
        finally:
            os.environ.clear()
            os.environ.update(before)
        whole, wrong = (stream.buffer.getvalue() for stream in (said, errors))  # type: ignore[attr-defined]
        if code != 0:
            raise ClientFailed(f"aws {' '.join(arguments)}: exit code {code}: {(wrong + whole).decode()[-2000:]}")
        return bytes(whole)

    def environ(self) -> dict[str, str]:
        target = self.target
        found = super().environ() | {"AWS_DEFAULT_REGION": REGION, "AWS_MAX_ATTEMPTS": "2"}
        if target.secure:
            found["AWS_CA_BUNDLE"] = target.ca_file
        if not target.anonymous:
            found |= {"AWS_ACCESS_KEY_ID": target.key, "AWS_SECRET_ACCESS_KEY": target.secret}
        return found

    def _aws(self, *arguments: str) -> bytes:
        unsigned = ["--no-sign-request"] if self.target.anonymous else []
        return self.run("--endpoint-url", self.target.url, *unsigned, *arguments)

    def _api(self, verb: str, bucket: str, *arguments: str) -> Any:
        said = self._aws("s3api", verb, "--bucket", bucket, "--output", "json", *arguments)
        return json.loads(said) if said.strip() else {}

    def create_bucket(self, bucket: str) -> None:
        self._aws("s3", "mb", f"s3://{bucket}")

    def list_buckets(self) -> list[str]:
        return [line.split()[-1] for line in self._aws("s3", "ls").decode().splitlines()]

    def delete_bucket(self, bucket: str) -> None:
        self._aws("s3", "rb", f"s3://{bucket}")

    def put(self, bucket: str, key: str, data: bytes, content_type: str = "", **metadata: str) -> None:
        extra = ["--content-type", content_type] if content_type else []
        extra += ["--metadata", ",".join(f"{k}={v}" for k, v in metadata.items())] if metadata else []
        self._api("put-object", bucket, "--key", key, "--body", str(self.scratch(data)), *extra)

    def get(self, bucket: str, key: str) -> bytes:
        self._api("get-object", bucket, "--key", key, str(self.scratch()))
        return (self.folder / "scratch").read_bytes()

    def head(self, bucket: str, key: str) -> Head:
        found = self._api("head-object", bucket, "--key", key)
        return Head(found["ContentLength"], found["ETag"].strip('"'), found["ContentType"], found["Metadata"])

    def delete(self, bucket: str, key: str) -> None:
        self._api("delete-object", bucket, "--key", key)

    def upload_file(self, bucket: str, key: str, path: Path) -> None:
        self._aws("s3", "cp", "--no-progress", str(path), f"s3://{bucket}/{key}")

    def download_file(self, bucket: str, key: str, path: Path) -> None:
        self._aws("s3", "cp", "--no-progress", f"s3://{bucket}/{key}", str(path))

    def list(self, bucket: str, prefix: str = "", delimiter: str = "") -> Listing:
        return self._listing("list-objects-v2", bucket, prefix, delimiter)

    def list_v1(self, bucket: str, prefix: str = "") -> Listing:
        return self._listing("list-objects", bucket, prefix, "")

    def _listing(self, verb: str, bucket: str, prefix: str, delimiter: str) -> Listing:
        found = self._api(verb, bucket, "--prefix", prefix, *(["--delimiter", delimiter] if delimiter else []))
        prefixes = [each["Prefix"] for each in found.get("CommonPrefixes") or []]
        return Listing([each["Key"] for each in found.get("Contents") or []], prefixes)

    def range(self, bucket: str, key: str, first: int, last: int) -> bytes:
        self._api("get-object", bucket, "--key", key, "--range", f"bytes={first}-{last}", str(self.scratch()))
        return (self.folder / "scratch").read_bytes()

    def copy(self, bucket: str, key: str, to_key: str) -> None:
        self._aws("s3", "cp", "--no-progress", f"s3://{bucket}/{key}", f"s3://{bucket}/{to_key}")

    def copy_in_parts(self, bucket: str, key: str, to_key: str) -> None:
        self._aws("s3", "cp", "--no-progress", f"s3://{bucket}/{key}", f"s3://{bucket}/{to_key}")

    def delete_many(self, bucket: str, keys: Sequence[str]) -> None:
        wanted = json.dumps({"Objects": [{"Key": key} for key in keys]})
        found = self._api("delete-objects", bucket, "--delete", wanted)
        if len(found.get("Deleted", [])) != len(keys):
            raise AssertionError(str(found))

    def presigned_get(self, bucket: str, key: str) -> str:
        return self._aws("s3", "presign", f"s3://{bucket}/{key}", "--expires-in", "300").decode().strip()

    def put_if_absent(self, bucket: str, key: str, data: bytes) -> bool:
        return self._put_if(bucket, key, data, "--if-none-match", "*")

    def put_if_same(self, bucket: str, key: str, data: bytes, etag: str) -> bool:
        return self._put_if(bucket, key, data, "--if-match", f'"{etag}"')

    def _put_if(self, bucket: str, key: str, data: bytes, *condition: str) -> bool:
        try:
            self._api("put-object", bucket, "--key", key, "--body", str(self.scratch(data)), *condition)
        except ClientFailed as error:
            if "(PreconditionFailed)" in str(error) or "(412)" in str(error):
                return False
            raise
        return True

    def get_if_changed(self, bucket: str, key: str, etag: str) -> bytes | None:
        try:
            self._api("get-object", bucket, "--key", key, "--if-none-match", f'"{etag}"', str(self.scratch()))
        except ClientFailed as error:
            if "(304)" in str(error):
                return None
            raise
        return (self.folder / "scratch").read_bytes()

    def set_tags(self, bucket: str, key: str, tags: dict[str, str]) -> None:
        self._api("put-object-tagging", bucket, "--key", key, "--tagging", _tag_set(tags))

    def tags(self, bucket: str, key: str) -> dict[str, str]:
        return {tag["Key"]: tag["Value"] for tag in self._api("get-object-tagging", bucket, "--key", key)["TagSet"]}

    def set_bucket_tags(self, bucket: str, tags: dict[str, str]) -> None:
        self._api("put-bucket-tagging", bucket, "--tagging", _tag_set(tags))

    def bucket_tags(self, bucket: str) -> dict[str, str]:
        return {tag["Key"]: tag["Value"] for tag in self._api("get-bucket-tagging", bucket)["TagSet"]}

    def make_public(self, bucket: str, key: str) -> None:
        self._api("put-object-acl", bucket, "--key", key, "--acl", "public-read")

    def is_public(self, bucket: str, key: str) -> bool:
        grants = self._api("get-object-acl", bucket, "--key", key)["Grants"]
        return any(grant["Grantee"].get("URI") == ALL_USERS for grant in grants)

    def set_policy(self, bucket: str, policy: str) -> None:
        self._api("put-bucket-policy", bucket, "--policy", policy)

    def policy(self, bucket: str) -> str:
        return str(self._api("get-bucket-policy", bucket)["Policy"])

    def delete_policy(self, bucket: str) -> None:
        self._api("delete-bucket-policy", bucket)

    def set_cors(self, bucket: str, origin: str) -> None:
        rules = json.dumps({"CORSRules": [{"AllowedMethods": ["GET"], "AllowedOrigins": [origin]}]})
        self._api("put-bucket-cors", bucket, "--cors-configuration", rules)

    def cors_origins(self, bucket: str) -> list[str]:
        rules = self._api("get-bucket-cors", bucket)["CORSRules"]
        return [origin for rule in rules for origin in rule["AllowedOrigins"]]

    def upload_tree(self, folder: Path, bucket: str, prefix: str) -> None:
        self._aws("s3", "cp", "--no-progress", "--recursive", str(folder), f"s3://{bucket}/{prefix}/")

    def download_tree(self, bucket: str, prefix: str, folder: Path) -> None:
        self._aws("s3", "cp", "--no-progress", "--recursive", f"s3://{bucket}/{prefix}/", str(folder))

    def sync_tree(self, folder: Path, bucket: str, prefix: str) -> None:
        self._aws("s3", "sync", "--no-progress", "--delete", str(folder), f"s3://{bucket}/{prefix}/")

    def purge(self, bucket: str) -> None:
        self._aws("s3", "rb", "--force", f"s3://{bucket}")


def _tag_set(tags: dict[str, str]) -> str:
    return json.dumps({"TagSet": [{"Key": key, "Value": value} for key, value in tags.items()]})


ADAPTER = AwsCli
