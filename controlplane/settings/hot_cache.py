"""The hot cache: on this node, and in a tier that the nodes share."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from controlplane.settings.secret import Secret
from controlplane.settings.section import AbsolutePath, Bytes, Name, Seconds, Section

KIB, MIB, GIB = 1024, 1024**2, 1024**3


class HotTier(Section):
    """The copies of small blobs that the nodes share, behind each node's disk cache (redis, memcached, riak_kv)."""

    servers: tuple[str, ...] = Field(
        (),
        description="redis: one host:port, or rediss://host:port for TLS; memcached: host:port of each server",
        examples=[["10.0.0.21:6379"]],
    )
    username: str = Field("", description="of Redis; empty: its default user")
    password: Secret | None = Field(
        None,
        description='of Redis: { file = "…" } or { env = "…" }',
        examples=[{"file": "/etc/millrace/redis.password"}],
    )
    prefix: Name = Field("millrace", description="of the keys there; clusters that share a server need different ones")
    max_blob_bytes: Bytes = Field(512 * KIB, le=900 * KIB, description="larger blobs are not kept there")
    ttl_s: Seconds = Field(3600, ge=1, description="how long a blob stays without being read anew from a store")
    timeout_s: Seconds = Field(0.25, description="the tier is passed over when it does not answer within this")


class HotCache(Section):
    """The copies of the blobs asked for most, on this node."""

    kind: Literal["disk", "memory", "none", "redis", "memcached", "riak_kv"] = Field(
        "disk",
        description="disk, memory or none; redis, memcached, riak_kv: the disk, and behind it a tier that nodes share",
    )
    path: AbsolutePath | None = Field(
        None, description="directory of the disk cache; empty: <node.data_dir>/hot", examples=["/var/lib/millrace/hot"]
    )
    limit_bytes: Bytes = Field(2 * GIB, description="least recently used blobs leave when this is reached")
    max_blob_bytes: Bytes = Field(256 * MIB, description="larger blobs are not kept")
    open_files: int = Field(1024, ge=0, description="files kept open for the fastest answer (disk)")
    tier: HotTier = HotTier()

    @property
    def on_disk(self) -> bool:
        return self.kind not in ("memory", "none")
