"""rclone as Debian packages it, with the provider "Other": single-part up to 200 MiB, so parts are asked for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from tests.clients.verbs import REGION, ClientFailed, Command, Head, Listing


class Rclone(Command):
    program = "rclone"

    def environ(self) -> dict[str, str]:
        target = self.target
        settings = {"TYPE": "s3", "PROVIDER": "Other", "ENDPOINT": target.url, "REGION": REGION}
        if not target.anonymous:
            settings |= {"ACCESS_KEY_ID": target.key, "SECRET_ACCESS_KEY": target.secret}
        found = super().environ() | {f"RCLONE_CONFIG_X_{name}": value for name, value in settings.items()}
        return found | ({"RCLONE_CA_CERT": target.ca_file} if target.secure else {})

    def _rclone(self, *arguments: str, data: bytes | None = None) -> bytes:
        return self.run("--config", "/dev/null", "--retries", "1", "--low-level-retries", "2", *arguments, data=data)

    def create_bucket(self, bucket: str) -> None:
        self._rclone("mkdir", f"x:{bucket}")

    def list_buckets(self) -> list[str]:
        return [line.split()[-1] for line in self._rclone("lsd", "x:").decode().splitlines()]

    def delete_bucket(self, bucket: str) -> None:
        self._rclone("rmdir", f"x:{bucket}")

    def put(self, bucket: str, key: str, data: bytes, content_type: str = "", **metadata: str) -> None:
        extra = ["--header-upload", f"Content-Type: {content_type}"] if content_type else []
        extra += [word for name, value in metadata.items() for word in ("--metadata-set", f"{name}={value}")]
        extra += ["--metadata"] if metadata else []
        self._rclone("copyto", "--ignore-times", *extra, str(self.scratch(data)), f"x:{bucket}/{key}")

    def get(self, bucket: str, key: str) -> bytes:
        # `cat` of what is not there is silence; copyto says so.
        back = self.folder / "back"
        back.unlink(missing_ok=True)
        self._rclone("copyto", f"x:{bucket}/{key}", str(back))
        return back.read_bytes()

    def head(self, bucket: str, key: str) -> Head:
        found = json.loads(self._rclone("lsjson", "--stat", "--hash", "--metadata", f"x:{bucket}/{key}"))
        return Head(found["Size"], found["Hashes"]["md5"], found["MimeType"], found.get("Metadata", {}))

    def delete(self, bucket: str, key: str) -> None:
        self._rclone("deletefile", f"x:{bucket}/{key}")

    def upload_file(self, bucket: str, key: str, path: Path) -> None:
        self._rclone("copyto", "--s3-upload-cutoff", "8M", str(path), f"x:{bucket}/{key}")

    def download_file(self, bucket: str, key: str, path: Path) -> None:
        self._rclone("copyto", f"x:{bucket}/{key}", str(path))

    def list(self, bucket: str, prefix: str = "", delimiter: str = "") -> Listing:
        return self._listing(bucket, prefix, delimiter)

    def list_v1(self, bucket: str, prefix: str = "") -> Listing:
        return self._listing(bucket, prefix, "", "--s3-list-version", "1")

    def _listing(self, bucket: str, prefix: str, delimiter: str, *options: str) -> Listing:
        folder, _, start = prefix.rpartition("/")
        where = f"x:{bucket}/{folder}".rstrip("/")
        recursive = [] if delimiter else ["--recursive", "--fast-list"]
        found = json.loads(self._rclone("lsjson", *recursive, *options, where))
        before = f"{folder}/" if folder else ""
        named = [(f"{before}{each['Path']}", each["IsDir"]) for each in found if each["Path"].startswith(start)]
        if not delimiter:
            return Listing([name for name, is_dir in named if not is_dir])
        return Listing([n for n, is_dir in named if not is_dir], [f"{n}/" for n, is_dir in named if is_dir])

    def range(self, bucket: str, key: str, first: int, last: int) -> bytes:
        return self._rclone("cat", "--offset", str(first), "--count", str(last - first + 1), f"x:{bucket}/{key}")

    def copy(self, bucket: str, key: str, to_key: str) -> None:
        self._rclone("copyto", f"x:{bucket}/{key}", f"x:{bucket}/{to_key}")

    def copy_in_parts(self, bucket: str, key: str, to_key: str) -> None:
        self._rclone("copyto", "--s3-copy-cutoff", "5M", f"x:{bucket}/{key}", f"x:{bucket}/{to_key}")

    def delete_many(self, bucket: str, keys: Sequence[str]) -> None:
        listed = self.folder / "to-delete"
        listed.write_text("\n".join(keys) + "\n")
        self._rclone("delete", "--files-from-raw", str(listed), f"x:{bucket}")

    def presigned_get(self, bucket: str, key: str) -> str:
        return self._rclone("link", "--expire", "5m", f"x:{bucket}/{key}").decode().strip()

    def upload_tree(self, folder: Path, bucket: str, prefix: str) -> None:
        self._rclone("copy", str(folder), f"x:{bucket}/{prefix}")

    def download_tree(self, bucket: str, prefix: str, folder: Path) -> None:
        self._rclone("copy", f"x:{bucket}/{prefix}", str(folder))

    def tree_is_same(self, folder: Path, bucket: str, prefix: str) -> bool:
        listed = self._rclone("lsl", f"x:{bucket}/{prefix}").decode().splitlines()
        if len(listed) != sum(1 for path in folder.rglob("*") if path.is_file()):
            return False
        try:
            self._rclone("check", str(folder), f"x:{bucket}/{prefix}")
        except ClientFailed as error:
            if "differences found" in str(error):
                return False
            raise
        return True

    def sync_tree(self, folder: Path, bucket: str, prefix: str) -> None:
        self._rclone("sync", str(folder), f"x:{bucket}/{prefix}")

    def purge(self, bucket: str) -> None:
        self._rclone("purge", f"x:{bucket}")


ADAPTER = Rclone
