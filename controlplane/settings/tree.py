"""The frozen settings tree. Every field says what it is, in which unit; `millrace example-config` prints it all."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from controlplane.settings.cluster import Cluster
from controlplane.settings.cluster_stores import Catalog, Journal, RiakKv
from controlplane.settings.hot_cache import HotCache
from controlplane.settings.mirror import Mirror
from controlplane.settings.outline import flatten
from controlplane.settings.rules import contradictions
from controlplane.settings.s3_front import S3Front
from controlplane.settings.secret import Secret
from controlplane.settings.section import (
    AbsolutePath,
    BaseUrl,
    Bytes,
    Name,
    OptionalUrl,
    Port,
    ReadableFile,
    Seconds,
    Section,
)
from controlplane.settings.stores import FilesystemStore, Store
from controlplane.settings.tls import Tls

KIB, MIB, GIB = 1024, 1024**2, 1024**3


class Scope(Enum):
    READ = "read"
    WRITE = "write"
    DELETE = "delete"


class Node(Section):
    """Who this node is."""

    cluster: Name = Field("default", description="name of the cluster; part of every key in the directory")
    name: Name = Field("node1", description="unique name of this node within the cluster")
    zone: str = Field("", description="availability zone, published with the endpoint")
    data_dir: AbsolutePath = Field(
        Path("/var/lib/millrace"), description="journal, catalog, spool; and the embedded stores"
    )
    public_url: OptionalUrl = Field(
        "", description="the URL clients reach this node by; empty: http://<gateway.host>:<gateway.port>"
    )


class Gateway(Section):
    """The data path: the blob API."""

    host: str = Field("127.0.0.1", min_length=1, description="address to listen on")
    port: Port = Field(8470, description="port to listen on; 0 takes a free one")
    tls: Tls = Tls()
    workers: int = Field(
        1,
        ge=1,
        le=64,
        description="processes that share the ports; max_connections and hot_cache.limit_bytes are divided among them",
    )
    max_blob_bytes: Bytes = Field(50 * GIB, description="a larger blob is refused with 413")
    max_connections: int = Field(10_000, ge=1, description="further connections wait in the kernel's queue")
    header_timeout_s: Seconds = Field(10, description="a request's head must have arrived within this")
    body_timeout_s: Seconds = Field(30, description="the longest pause of a client that is sending or reading a body")
    idle_timeout_s: Seconds = Field(75, description="an idle keep-alive connection is closed after this")
    min_body_rate: int = Field(
        1024, ge=0, description="bytes a second that a client must average over a body, after a grace of body_timeout_s"
    )
    shutdown_grace_s: Seconds = Field(20, description="how long requests in progress may take to finish on SIGTERM")
    spool_memory_bytes: Bytes = Field(256 * KIB, description="bodies up to this size are held in memory, not spooled")
    anonymous_read: bool = Field(False, description="GET and HEAD need no token")
    tombstone_recheck_s: Seconds = Field(
        5,
        description="a cached blob older than this is checked against the catalog and the primary before it is served",
    )
    quarantine_limit: int = Field(100, ge=0, description="how many colliding contents are kept; more are only recorded")


class Token(Section):
    """A bearer token of the blob API."""

    name: Name = Field(..., description="for the logs; never the token itself", examples=["builder"])
    secret: Secret = Field(
        ...,
        description='the token: { file = "…" } or { env = "…" }',
        examples=[{"file": "/etc/millrace/builder.token"}],
    )
    scopes: frozenset[Scope] = Field(
        ..., min_length=1, description="any of read, write, delete", examples=[["read", "write", "delete"]]
    )


class Admin(Section):
    """The admin port: /healthz, /readyz, /metrics. Keep it on the internal network."""

    host: str = Field("127.0.0.1", min_length=1, description="address to listen on")
    port: Port = Field(8471, description="gateway's admin port; 0 takes a free one")
    agent_port: Port = Field(8472, description="agent's admin port; 0 takes a free one")


class Etcd(Section):
    """etcd v3 by its JSON gateway."""

    endpoints: tuple[BaseUrl, ...] = Field((), description="base URLs of the members; empty: an in-process directory")
    username: str = Field("", description="empty: no authentication")
    password: Secret | None = Field(
        None, description='{ file = "…" } or { env = "…" }', examples=[{"file": "/etc/millrace/etcd.password"}]
    )
    ca_file: ReadableFile | None = Field(
        None, description="PEM file of the certificate authority", examples=["/etc/millrace/etcd-ca.pem"]
    )
    cert_file: ReadableFile | None = Field(
        None, description="PEM file of the client certificate", examples=["/etc/millrace/etcd-client.pem"]
    )
    key_file: ReadableFile | None = Field(
        None, description="PEM file of the client's private key", examples=["/etc/millrace/etcd-client.key"]
    )
    timeout_s: Seconds = Field(3, description="of one request to one member")


class Directory(Section):
    """Where endpoints are published."""

    etcd: Etcd = Etcd()
    lease_ttl_s: Seconds = Field(15, ge=2, description="an endpoint leaves within this when its node dies")
    probe_interval_s: Seconds = Field(5, description="how often PUT, GET, DELETE through the own endpoint is tried")
    probe_failures: int = Field(2, ge=1, description="failed probes in a row after which the endpoint is withdrawn")
    v2: bool = Field(False, description="write the same endpoint set to the etcd v2 keyspace (needs python-etcd)")
    v2_endpoints: tuple[BaseUrl, ...] = Field((), description="base URLs for v2; empty: those of etcd")


class Gc(Section):
    """Garbage collection of Riak CS: the agents of a cluster have one node at a time do it, under a lease."""

    socket: AbsolutePath | None = Field(
        None,
        description="socket of the Riak CS node on this machine (roles/riak_cs); empty: this agent has no part in it",
        examples=["/run/millrace-riak-cs-gc.sock"],
    )
    interval_s: Seconds = Field(900, description="from the start of one batch to the start of the next")
    lease_ttl_s: Seconds = Field(120, description="another node takes over within this when the one that collects dies")
    command_timeout_s: Seconds = Field(40, ge=1, description="of one command of Riak CS, which starts an Erlang node")
    check_s: Seconds = Field(60, description="how often the local Riak CS is asked what it does")


class Log(Section):
    """Structured logs: one JSON object a line on standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="least severity that is written")
    access: bool = Field(False, description="write a line for every request, not only for writes and failures")


def default_primary(data_dir: Path) -> FilesystemStore:
    """The primary store of a node whose settings name none."""
    return FilesystemStore(path=data_dir / "primary")


class Settings(Section):
    """Everything. Secrets come by file or environment, and are never printed."""

    node: Node = Node()
    gateway: Gateway = Gateway()
    tokens: tuple[Token, ...] = Field((), description="bearer tokens of the blob API")
    admin: Admin = Admin()
    primary: Store = Field(
        default_factory=lambda above: default_primary(above["node"].data_dir),
        description="where blobs live: Riak CS, or files; none given: files in <node.data_dir>/primary",
    )
    persistent: Store | None = Field(None, description="where blobs are mirrored to; none: no mirror")
    hot_cache: HotCache = HotCache()
    journal: Journal = Journal()
    catalog: Catalog = Catalog()
    riak_kv: RiakKv = RiakKv()
    mirror: Mirror = Mirror()
    directory: Directory = Directory()
    cluster: Cluster = Cluster()
    s3: S3Front = S3Front()
    gc: Gc = Gc()
    log: Log = Log()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        broken = [f"{path}: {message}" for path, message in contradictions(flatten(self))]
        if broken:
            raise ValueError("; ".join(broken))
        return self
