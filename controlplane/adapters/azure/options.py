"""What an Azure Blob store needs to know, as plain values."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class AzureOptions:
    """One container of a storage account. Raises ValueError for values that cannot work."""

    endpoint: str
    """The account's blob service: https://<account>.blob.core.windows.net, or a URL with the account as its path."""
    container: str
    prefix: str = ""
    """Put before every key, and taken off again in answers."""
    account: str = ""
    """Whose key it is; with account_key."""
    account_key: str = field(default="", repr=False)
    sas_token: str = field(default="", repr=False)
    """Instead of account and account_key; with neither, requests are not signed."""
    ca_file: Path | None = None
    """PEM file of the certificate authority; None: the system's."""
    connections: int = 32
    connect_timeout_s: float = 3.0
    read_timeout_s: float = 30.0
    """The longest pause of the server within a request."""
    attempts: int = 4
    """Tries of a request that may safely be sent again."""
    part_bytes: int = 8 * 1024 * 1024
    """Larger bodies go up in blocks of this size."""
    part_concurrency: int = 2

    def __post_init__(self) -> None:
        parts = urlsplit(self.endpoint)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.username is not None:
            raise ValueError(f"an Azure endpoint is http(s)://host[:port][/account], not {self.endpoint!r}")
        if not self.container:
            raise ValueError("an Azure store needs a container")
        if bool(self.account) != bool(self.account_key):
            raise ValueError("account and account_key come together, or neither is set")
        if self.account_key and self.sas_token:
            raise ValueError("either account_key or sas_token is set, not both")
        if min(self.connections, self.attempts, self.part_concurrency, self.part_bytes) < 1:
            raise ValueError("connections, attempts, part_concurrency and part_bytes are at least 1")
        if min(self.connect_timeout_s, self.read_timeout_s) <= 0:
            raise ValueError("timeouts are greater than 0 seconds")
