"""How to reach etcd."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from controlplane.ports.errors import Rejected


@dataclass(frozen=True, slots=True)
class EtcdOptions:
    """Raises Rejected when an endpoint is not a base URL, or a certificate has no key."""

    endpoints: tuple[str, ...]
    """Base URLs of the members, http or https."""
    username: str = ""
    """Empty: no authentication."""
    password: str = field(default="", repr=False)
    ca_file: Path | None = None
    """PEM; None: the system's certificate authorities."""
    cert_file: Path | None = None
    key_file: Path | None = None
    timeout_s: float = 3.0
    """Of one request to one member; a request to a cluster takes at most this times its members."""
    recheck_s: float = 10.0
    """A watch that was silent for so long is compared with a fresh listing: bounds how long a dead connection hides."""

    def __post_init__(self) -> None:
        if not self.endpoints:
            raise Rejected("etcd has no endpoints: set directory.etcd.endpoints to the members' base URLs")
        for url in self.endpoints:
            if not _is_base_url(url):
                raise Rejected(f"an etcd endpoint is a base URL such as https://10.0.0.1:2379, not {url[:200]!r}")
        if (self.cert_file is None) != (self.key_file is None):
            raise Rejected("an etcd client certificate needs both cert_file and key_file")
        # Twice the same member would only double the time of a failure.
        unique = tuple(dict.fromkeys(url.rstrip("/") for url in self.endpoints))
        object.__setattr__(self, "endpoints", unique)


def _is_base_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        plain = not (parts.query or parts.fragment or parts.username or parts.path.strip("/"))
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and plain and parts.port != 0
    except ValueError:
        return False
