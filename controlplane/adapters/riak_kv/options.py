"""How to reach Riak KV."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from controlplane.ports.errors import Rejected


@dataclass(frozen=True, slots=True)
class RiakKvOptions:
    """Raises Rejected when there is no endpoint."""

    endpoints: tuple[str, ...]
    """Base URLs of the nodes' HTTP listeners; of the protocol-buffers client host:port."""
    bucket_type: str
    username: str = ""
    """Empty: Riak's security is off."""
    password: str = field(default="", repr=False)
    ca_file: Path | None = None
    connections: int = 32
    """Most connections to each node."""
    waiting: int = 2048
    """Most requests under way and waiting; further ones are pushed back."""
    connect_timeout_s: float = 2.0
    timeout_s: float = 10.0
    """Of one request to one node."""
    silence_s: float = 4.0
    """A host whose kernel acknowledges nothing for so long is taken for dead, also by connections that were idle."""

    def __post_init__(self) -> None:
        if not self.endpoints:
            raise Rejected("Riak KV has no endpoints: set riak_kv.endpoints to the nodes' HTTP listeners")
        object.__setattr__(self, "endpoints", tuple(dict.fromkeys(url.rstrip("/") for url in self.endpoints)))
