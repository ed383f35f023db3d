"""Where journal and catalog are: in files of this node, or in Riak KV, which the nodes of a cluster share."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from controlplane.settings.secret import Secret
from controlplane.settings.section import BaseUrl, ReadableFile, Seconds, Section


class Journal(Section):
    """The durable queue between acknowledgement and mirror."""

    kind: Literal["sqlite", "riak_kv"] = Field(
        "sqlite", description="sqlite: <node.data_dir>/journal.db; riak_kv: shared by all nodes of the cluster"
    )
    limit: int = Field(1_000_000, ge=1, description="entries at which writes are pushed back with 503")
    recount_s: Seconds = Field(30, description="how often the entries of all nodes are counted for the limit (riak_kv)")


class Catalog(Section):
    """What is known of blobs and copies: a cache, which can be rebuilt."""

    kind: Literal["sqlite", "riak_kv"] = Field(
        "sqlite", description="sqlite: <node.data_dir>/catalog.db; riak_kv: shared by all nodes of the cluster"
    )


class RiakKv(Section):
    """The Riak KV that journal.kind, catalog.kind and hot_cache.kind mean by riak_kv."""

    endpoints: tuple[BaseUrl, ...] = Field(
        (), description="base URLs of the nodes' HTTP listeners", examples=[["http://10.0.0.11:8098"]]
    )
    protocol: Literal["http", "pb"] = Field(
        "http",
        description="pb: protocol buffers (the extra millrace[riak]) at pb_endpoints, without users and TLS",
    )
    pb_endpoints: tuple[str, ...] = Field(
        (), description="host:port of the nodes' protocol buffers listeners", examples=[["10.0.0.11:8087"]]
    )
    bucket_type: str = Field(
        "default",
        pattern=r"^[A-Za-z0-9_-]{1,64}$",
        description="of journal and catalog: with allow_mult true, in leveldb or leveled. With storage_backend "
        "prefix_multi (Riak CS) only the default type has indexes; elsewhere it may be one of its own",
    )
    hot_bucket_type: str = Field(
        "millrace_hot",
        pattern=r"^[A-Za-z0-9_-]{1,64}$",
        description="of the hot tier: in a memory backend, last_write_wins true, dvv_enabled false",
    )
    username: str = Field("", description="empty: Riak's security is off")
    password: Secret | None = Field(
        None, description='{ file = "…" } or { env = "…" }', examples=[{"file": "/etc/millrace/riak.password"}]
    )
    ca_file: ReadableFile | None = Field(
        None, description="PEM file of the certificate authority", examples=["/etc/millrace/riak-ca.pem"]
    )
    connections: int = Field(32, ge=1, le=1024, description="most connections to each node")
    connect_timeout_s: Seconds = Field(2, description="to open a connection")
    timeout_s: Seconds = Field(10, description="of one request to one node")
