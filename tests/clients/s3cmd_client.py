"""s3cmd as Debian packages it: SigV4, ListObjects version 1, parts of 15 MB."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from tests.clients.verbs import REGION, Command, Head, Listing, NotOffered, Target


class S3cmd(Command):
    program = "s3cmd"

    def __init__(self, target: Target) -> None:
        if target.anonymous:
            raise NotOffered
        super().__init__(target)
        lines = [
            "[default]", f"access_key = {target.key}", f"secret_key = {target.secret}", f"host_base = {target.host}",
            f"host_bucket = {target.host}", f"use_https = {target.secure}", f"bucket_location = {REGION}",
            "progress_meter = False", "max_retries = 1",
        ]  # fmt: skip
        if target.secure:
            lines += [f"ca_certs_file = {target.ca_file}", "signurl_use_https = True"]
        (self.folder / "s3cfg").write_text("\n".join(lines) + "\n")

    def _s3cmd(self, *arguments: str) -> str:
        return self.run("--config", str(self.folder / "s3cfg"), *arguments).decode()

    def create_bucket(self, bucket: str) -> None:
        self._s3cmd("mb", f"s3://{bucket}")

    def list_buckets(self) -> list[str]:
        return [line.split("s3://")[1] for line in self._s3cmd("ls").splitlines()]

    def delete_bucket(self, bucket: str) -> None:
        self._s3cmd("rb", f"s3://{bucket}")

    def put(self, bucket: str, key: str, data: bytes, content_type: str = "", **metadata: str) -> None:
        extra = [f"--mime-type={content_type}"] if content_type else []
        extra += [f"--add-header=x-amz-meta-{name}:{value}" for name, value in metadata.items()]
        self._s3cmd("put", *extra, str(self.scratch(data)), f"s3://{bucket}/{key}")

    def get(self, bucket: str, key: str) -> bytes:
        self._s3cmd("get", "--force", f"s3://{bucket}/{key}", str(self.scratch()))
        return (self.folder / "scratch").read_bytes()

    def head(self, bucket: str, key: str) -> Head:
        shown = self._s3cmd("info", f"s3://{bucket}/{key}")
        fields = dict(re.findall(r"^ +([A-Za-z0-9 -]+?): +(.*)$", shown, re.MULTILINE))
        named = {name[11:]: value for name, value in fields.items() if name.startswith("x-amz-meta-")}
        return Head(int(fields["File size"]), fields["MD5 sum"], fields["MIME type"], named)

    def delete(self, bucket: str, key: str) -> None:
        self._s3cmd("del", f"s3://{bucket}/{key}")

    def upload_file(self, bucket: str, key: str, path: Path) -> None:
        self._s3cmd("put", str(path), f"s3://{bucket}/{key}")

    def download_file(self, bucket: str, key: str, path: Path) -> None:
        self._s3cmd("get", "--force", f"s3://{bucket}/{key}", str(path))

    def list(self, bucket: str, prefix: str = "", delimiter: str = "") -> Listing:
        shown = self._s3cmd("ls", *([] if delimiter else ["--recursive"]), f"s3://{bucket}/{prefix}")
        start = f"s3://{bucket}/"
        found = [(line[: line.index(start)].split(), line.partition(start)[2]) for line in shown.splitlines()]
        return Listing([k for words, k in found if words != ["DIR"]], [k for words, k in found if words == ["DIR"]])

    def copy(self, bucket: str, key: str, to_key: str) -> None:
        self._s3cmd("cp", f"s3://{bucket}/{key}", f"s3://{bucket}/{to_key}")

    def copy_in_parts(self, bucket: str, key: str, to_key: str) -> None:
        self._s3cmd("cp", "--multipart-chunk-size-mb=5", f"s3://{bucket}/{key}", f"s3://{bucket}/{to_key}")

    def delete_many(self, bucket: str, keys: Sequence[str]) -> None:
        self._s3cmd("del", *(f"s3://{bucket}/{key}" for key in keys))

    def presigned_get(self, bucket: str, key: str) -> str:
        return self._s3cmd("signurl", f"s3://{bucket}/{key}", "+300").strip()

    def make_public(self, bucket: str, key: str) -> None:
        self._s3cmd("setacl", "--acl-public", f"s3://{bucket}/{key}")

    def is_public(self, bucket: str, key: str) -> bool:
        return "*anon*: READ" in self._s3cmd("info", f"s3://{bucket}/{key}")

    def set_policy(self, bucket: str, policy: str) -> None:
        self._s3cmd("setpolicy", str(self.scratch(policy.encode())), f"s3://{bucket}")

    def policy(self, bucket: str) -> str:
        shown = self._s3cmd("info", f"s3://{bucket}")
        return re.split(r"\n +CORS:", shown.partition("Policy:")[2])[0].strip()

    def delete_policy(self, bucket: str) -> None:
        self._s3cmd("delpolicy", f"s3://{bucket}")

    def set_cors(self, bucket: str, origin: str) -> None:
        rule = f"<CORSRule><AllowedOrigin>{origin}</AllowedOrigin><AllowedMethod>GET</AllowedMethod></CORSRule>"
        document = f"<CORSConfiguration>{rule}</CORSConfiguration>"
        self._s3cmd("setcors", str(self.scratch(document.encode())), f"s3://{bucket}")

    def cors_origins(self, bucket: str) -> list[str]:
        return re.findall(r"<AllowedOrigin>(.*?)</AllowedOrigin>", self._s3cmd("info", f"s3://{bucket}"))

    def set_expiry(self, bucket: str, prefix: str, days: int) -> None:
        self._s3cmd("expire", f"--expiry-days={days}", f"--expiry-prefix={prefix}", f"s3://{bucket}")

    def expiries(self, bucket: str) -> dict[str, int]:
        shown = self._s3cmd("getlifecycle", f"s3://{bucket}")
        prefixes, days = re.findall(r"<Prefix>(.*?)</Prefix>", shown), re.findall(r"<Days>(\d+)</Days>", shown)
        return dict(zip(prefixes, map(int, days), strict=True))

    def upload_tree(self, folder: Path, bucket: str, prefix: str) -> None:
        self._s3cmd("put", "--recursive", f"{folder}/", f"s3://{bucket}/{prefix}/")

    def download_tree(self, bucket: str, prefix: str, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self._s3cmd("get", "--recursive", "--force", f"s3://{bucket}/{prefix}/", f"{folder}/")

    def sync_tree(self, folder: Path, bucket: str, prefix: str) -> None:
        self._s3cmd("sync", "--delete-removed", f"{folder}/", f"s3://{bucket}/{prefix}/")

    def purge(self, bucket: str) -> None:
        self._s3cmd("rb", "--force", "--recursive", f"s3://{bucket}")


ADAPTER = S3cmd
