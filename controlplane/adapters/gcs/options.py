"""What a store in Google Cloud Storage needs to know, as plain values."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

CHUNK_BYTES: Final = 256 * 1024
"""Parts of a resumable upload are multiples of this."""


@dataclass(frozen=True, slots=True)
class GcsOptions:
    """One bucket. Raises ValueError for values that cannot work."""

    endpoint: str
    """https://storage.googleapis.com, or what stands for it."""
    bucket: str
    prefix: str = ""
    """Put before every key, and taken off again in answers."""
    credentials: str = field(default="", repr=False)
    """The JSON key of a service account; empty: requests are not signed."""
    project: str = ""
    """Who owns a bucket that is created."""
    location: str = ""
    """Where it is created; empty: where Google does by default."""
    ca_file: Path | None = None
    """PEM file of the certificate authority; None: the system's."""
    connections: int = 16
    """Requests at once; each has a thread."""
    connect_timeout_s: float = 3.0
    read_timeout_s: float = 30.0
    """The longest pause of the server within a request."""
    attempts: int = 4
    """Tries of a request that may safely be sent again."""
    part_bytes: int = 8 * 1024 * 1024
    """Larger bodies go up in pieces of this size."""

    def __post_init__(self) -> None:
        parts = urlsplit(self.endpoint)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.path not in ("", "/") or parts.query:
            raise ValueError(f"a Google Cloud Storage endpoint is http(s)://host[:port], not {self.endpoint!r}")
        if not self.bucket:
            raise ValueError("a store in Google Cloud Storage needs a bucket")
        if min(self.connections, self.attempts, self.part_bytes) < 1:
            raise ValueError("connections, attempts and part_bytes are at least 1")
        if self.part_bytes % CHUNK_BYTES:
            raise ValueError(f"part_bytes is a multiple of {CHUNK_BYTES}")
        if min(self.connect_timeout_s, self.read_timeout_s) <= 0:
            raise ValueError("timeouts are greater than 0 seconds")
