"""What a client can be asked to do. An adapter implements what its client offers; the rest is NotOffered.

Nothing here or in an adapter knows the gateway: the clients run with the settings that their users would have, but for
the address, the credentials and path style. Runs in the environment of the clients.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

REGION = "us-east-1"


class NotOffered(Exception):
    """This client has no such operation."""


class ClientFailed(Exception):
    """A command of this client exited with an error; what it said."""


@dataclass(frozen=True)
class Target:
    url: str
    ca_file: str
    """PEM file of the authority to trust; empty over plain HTTP."""
    key: str
    secret: str
    """Key and secret are empty for an anonymous client."""
    folder: str
    """The client's own: configuration files, things to upload."""

    @property
    def secure(self) -> bool:
        return self.url.startswith("https:")

    @property
    def host(self) -> str:
        return self.url.partition("://")[2]

    @property
    def anonymous(self) -> bool:
        return not self.key


@dataclass(frozen=True)
class Head:
    size: int
    etag: str
    """Without quotes."""
    content_type: str = ""
    metadata: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Listing:
    keys: list[str]
    prefixes: list[str] = field(default_factory=list)


class Client:
    """Every verb raises what its library raises, or ClientFailed, when the server refuses."""

    never_in_keys = ""
    """Characters that this client itself refuses in a key."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.folder = Path(target.folder)
        self.folder.mkdir(parents=True, exist_ok=True)

    def close(self) -> None:
        """Give connections back."""

    def create_bucket(self, bucket: str) -> None:
        raise NotOffered

    def list_buckets(self) -> list[str]:
        raise NotOffered

    def delete_bucket(self, bucket: str) -> None:
        raise NotOffered

    def put(self, bucket: str, key: str, data: bytes, content_type: str = "", **metadata: str) -> None:
        """A client without content type or metadata raises NotOffered when they are given."""
        raise NotOffered

    def get(self, bucket: str, key: str) -> bytes:
        raise NotOffered

    def head(self, bucket: str, key: str) -> Head:
        raise NotOffered

    def delete(self, bucket: str, key: str) -> None:
        raise NotOffered

    def upload_file(self, bucket: str, key: str, path: Path) -> None:
        """In parts, by the client's own rule, when the file is large."""
        raise NotOffered

    def download_file(self, bucket: str, key: str, path: Path) -> None:
        raise NotOffered

    def list(self, bucket: str, prefix: str = "", delimiter: str = "") -> Listing:
        """All of it, in the way that is this client's default."""
        raise NotOffered

    def list_v1(self, bucket: str, prefix: str = "") -> Listing:
        """All of it by ListObjects (version 1), where the default is version 2."""
        raise NotOffered

    def range(self, bucket: str, key: str, first: int, last: int) -> bytes:
        raise NotOffered

    def copy(self, bucket: str, key: str, to_key: str) -> None:
        raise NotOffered

    def copy_in_parts(self, bucket: str, key: str, to_key: str) -> None:
        """By UploadPartCopy."""
        raise NotOffered

    def delete_many(self, bucket: str, keys: Sequence[str]) -> None:
        raise NotOffered

    def presigned_get(self, bucket: str, key: str) -> str:
        raise NotOffered

    def presigned_put(self, bucket: str, key: str) -> str:
        raise NotOffered

    def put_if_absent(self, bucket: str, key: str, data: bytes) -> bool:
        """False when there was one."""
        raise NotOffered

    def put_if_same(self, bucket: str, key: str, data: bytes, etag: str) -> bool:
        """False when the object has another ETag."""
        raise NotOffered

    def get_if_changed(self, bucket: str, key: str, etag: str) -> bytes | None:
        """None when it has still that ETag."""
        raise NotOffered

    def set_tags(self, bucket: str, key: str, tags: dict[str, str]) -> None:
        raise NotOffered

    def tags(self, bucket: str, key: str) -> dict[str, str]:
        raise NotOffered

    def set_bucket_tags(self, bucket: str, tags: dict[str, str]) -> None:
        raise NotOffered

    def bucket_tags(self, bucket: str) -> dict[str, str]:
        raise NotOffered

    def make_public(self, bucket: str, key: str) -> None:
        raise NotOffered

    def is_public(self, bucket: str, key: str) -> bool:
        """By the object's ACL."""
        raise NotOffered

    def set_policy(self, bucket: str, policy: str) -> None:
        raise NotOffered

    def policy(self, bucket: str) -> str:
        raise NotOffered

    def delete_policy(self, bucket: str) -> None:
        raise NotOffered

    def set_cors(self, bucket: str, origin: str) -> None:
        raise NotOffered

    def cors_origins(self, bucket: str) -> list[str]:
        raise NotOffered

    def set_expiry(self, bucket: str, prefix: str, days: int) -> None:
        """A lifecycle rule."""
        raise NotOffered

    def expiries(self, bucket: str) -> dict[str, int]:
        """Days by prefix."""
        raise NotOffered

    def upload_tree(self, folder: Path, bucket: str, prefix: str) -> None:
        raise NotOffered

    def download_tree(self, bucket: str, prefix: str, folder: Path) -> None:
        raise NotOffered

    def tree_is_same(self, folder: Path, bucket: str, prefix: str) -> bool:
        raise NotOffered

    def sync_tree(self, folder: Path, bucket: str, prefix: str) -> None:
        """Afterwards the prefix holds what the folder does, and nothing else."""
        raise NotOffered

    def purge(self, bucket: str) -> None:
        """Remove the bucket with all that it holds."""
        raise NotOffered


class Command(Client):
    """A client that is a program."""

    program = ""
    timeout_s = 120

    def run(self, *arguments: str, data: bytes | None = None, **environ: str) -> bytes:
        """Its standard output. Raises ClientFailed."""
        done = subprocess.run(
            [self.program, *arguments], input=data, capture_output=True, env=self.environ() | environ,
            timeout=self.timeout_s, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            said = (done.stderr + done.stdout).decode(errors="replace").strip()
            raise ClientFailed(f"{self.program} {' '.join(arguments)}: exit code {done.returncode}: {said[-2000:]}")
        return done.stdout

    def environ(self) -> dict[str, str]:
        """A home of its own, so that no configuration of this machine leaks in."""
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "TZ") if name in os.environ}
        return {"LANG": "C.UTF-8", **kept, "HOME": str(self.folder)}

    def scratch(self, data: bytes = b"") -> Path:
        """A file to upload from or download to."""
        path = self.folder / "scratch"
        path.write_bytes(data)
        return path


def write_tree(folder: Path, contents: dict[str, bytes]) -> None:
    for name, data in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def read_tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
