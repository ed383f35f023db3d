"""What an S3 store needs to know, as plain values."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol
from urllib.parse import urlsplit

from controlplane.ports.upstream import Renewal


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One base URL, taken apart."""

    url: str
    host: str
    port: int
    tls: bool
    host_header: str

    @staticmethod
    def parse(url: str) -> Endpoint:
        """Raises ValueError unless it is http(s)://host[:port] without path, user, query."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"an S3 endpoint is http://host:port or https://host:port, not {url!r}")
        if parts.path not in ("", "/") or parts.query or parts.fragment or parts.username is not None:
            raise ValueError(f"an S3 endpoint has neither path, query nor user: {url!r}")
        tls = parts.scheme == "https"
        default = 443 if tls else 80
        port = parts.port or default
        name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        return Endpoint(
            f"{parts.scheme}://{parts.netloc}",
            parts.hostname,
            port,
            tls,
            name if port == default else f"{name}:{port}",
        )


class PoolOptions(Protocol):
    """What a pool of connections needs to know; S3Options and RiakCsOptions have it."""

    @property
    def endpoints(self) -> tuple[str, ...]: ...

    @property
    def connections(self) -> int: ...

    @property
    def connect_timeout_s(self) -> float: ...

    @property
    def read_timeout_s(self) -> float: ...

    @property
    def silence_s(self) -> float: ...

    @property
    def ca_file(self) -> Path | None: ...


@dataclass(frozen=True, slots=True)
class S3Options:
    """One bucket behind one or more equivalent endpoints. Raises ValueError for values that cannot work."""

    endpoints: tuple[str, ...]
    """Base URLs; more than one: requests are spread, and a failing one is left out for some seconds."""
    bucket: str
    prefix: str = ""
    """Put before every key, and taken off again in answers."""
    region: str = "us-east-1"
    access_key: str = ""
    """Empty: requests are not signed."""
    secret_key: str = field(default="", repr=False)
    signature: Literal["v4", "v2"] = "v4"
    list_version: Literal[1, 2] = 2
    """1 for Riak CS, which answers version 2 with silent truncation."""
    conditional_put: bool = True
    """The server honours If-None-Match: * and If-Match. False (Riak CS): if_absent looks first and writes then, and
    if_match is not asked for."""
    ca_file: Path | None = None
    """PEM file of the certificate authority; None: the system's."""
    renewal: Renewal | None = field(default=None, repr=False, compare=False)
    """Whose pair is signed with instead of access_key and secret_key, which are of the start."""
    connections: int = 32
    """Most connections to each endpoint."""
    pipeline: int = 64
    """Most requests for small objects sent on a connection before the first is answered; 1: none is."""
    connect_timeout_s: float = 3.0
    read_timeout_s: float = 30.0
    """The longest pause of the server within a request, and the longest wait for a free connection."""
    silence_s: float = 5.0
    """A host whose kernel acknowledges nothing for so long is taken for dead; it may be far away."""
    attempts: int = 4
    """Tries of a request that may safely be sent again."""
    part_bytes: int = 16 * 1024 * 1024
    """Larger bodies go up in parts of this size."""
    whole_bytes: int = 0
    """Files whose digests are known go up in one request up to this size: in parts each byte would be hashed once more.
    Not above part_bytes: part_bytes counts."""
    part_concurrency: int = 2

    def __post_init__(self) -> None:
        if not self.endpoints or not self.bucket:
            raise ValueError("an S3 store needs at least one endpoint and a bucket")
        for url in self.endpoints:
            Endpoint.parse(url)
        if min(self.connections, self.pipeline, self.attempts, self.part_concurrency, self.part_bytes) < 1:
            raise ValueError("connections, pipeline, attempts, part_concurrency and part_bytes are at least 1")
        if min(self.connect_timeout_s, self.read_timeout_s, self.silence_s) <= 0:
            raise ValueError("timeouts are greater than 0 seconds")
        if bool(self.access_key) != bool(self.secret_key):
            raise ValueError("access_key and secret_key come together, or neither is set")
