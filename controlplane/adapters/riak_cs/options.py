"""What the client of Riak CS needs to know, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from controlplane.adapters.s3.options import Endpoint


@dataclass(frozen=True, slots=True)
class RiakCsOptions:
    """One port of one or more equivalent Riak CS nodes. Raises ValueError for values that cannot work."""

    endpoints: tuple[str, ...]
    """Base URLs."""
    ca_file: Path | None = None
    connections: int = 128
    """Most connections to each node."""
    connect_timeout_s: float = 2.0
    read_timeout_s: float = 60.0
    """The longest pause of a node within a request, and the longest wait for a free connection."""
    silence_s: float = 4.0
    """A host whose kernel acknowledges nothing for so long is taken for dead; it is not far away."""
    first_answer_s: float = 8.0
    """The longest wait for the beginning of an answer that every node gives soon, while another node can be asked."""
    attempts: int = 3
    """Tries of a request that may safely be sent again."""
    kept_body_bytes: int = 16 * 1024 * 1024
    """A streamed body of up to so many bytes is kept until its answer has come. Parts of most clients' uploads are."""
    kept_bytes: int = 48 * 1024 * 1024
    """Of all such bodies together; one that finds no room is sent once."""

    def __post_init__(self) -> None:
        if not self.endpoints:
            raise ValueError("Riak CS needs at least one endpoint")
        for url in self.endpoints:
            Endpoint.parse(url)
        spans = (self.connect_timeout_s, self.read_timeout_s, self.silence_s, self.first_answer_s)
        if min(self.connections, self.attempts) < 1 or min(spans) <= 0:
            raise ValueError("connections and attempts are at least 1, timeouts greater than 0")
