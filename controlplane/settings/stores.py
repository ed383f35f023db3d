"""The kinds of stores that hold objects, and how each is reached."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from controlplane.settings.cloud_stores import AzureStore, GcsStore
from controlplane.settings.secret import Secret
from controlplane.settings.section import AbsolutePath, BaseUrl, Bytes, ReadableFile, Seconds, Section

MIB, GIB = 1024**2, 1024**3


class FilesystemStore(Section):
    """An embedded store: a directory of files."""

    kind: Literal["filesystem"] = "filesystem"
    path: AbsolutePath = Field(..., description="directory; created when missing", examples=["/srv/blobs"])
    fsync: bool = Field(True, description="false loses acknowledged blobs on power failure: for throw-away set-ups")


class MemoryStore(Section):
    """Objects in this process's memory: for tests and trials."""

    kind: Literal["memory"] = "memory"


class S3Store(Section):
    """A bucket behind the S3 protocol: AWS S3, Riak CS, SeaweedFS, Ceph..."""

    kind: Literal["s3"] = "s3"
    endpoints: tuple[BaseUrl, ...] = Field(
        ...,
        min_length=1,
        description="base URLs; more than one: spread and failed over",
        examples=[["https://s3.example.net"]],
    )
    bucket: str = Field(
        ..., min_length=3, max_length=63, description="must exist, unless create_bucket is true", examples=["millrace"]
    )
    prefix: str = Field("", description="put before every key")
    region: str = Field("us-east-1", description="for the signature")
    access_key: str = Field("", description="empty: unsigned requests")
    secret_key: Secret | None = Field(
        None, description='{ file = "…" } or { env = "…" }', examples=[{"env": "S3_SECRET_KEY"}]
    )
    signature: Literal["v4", "v2"] = Field("v4", description="Riak CS takes both")
    list_version: Literal[1, 2] = Field(2, description="1 for Riak CS: it answers version 2 with silent truncation")
    conditional_put: bool = Field(
        True,
        description="the server honours If-None-Match: * and If-Match on PUT: it must not answer 412 or 503 to all of "
        "them, as Riak CS does, and a Millrace front without etcd; one that ignores them does no harm. doctor tries it",
    )
    create_bucket: bool = Field(False, description="create the bucket at start when it is missing")
    ca_file: ReadableFile | None = Field(
        None,
        description="PEM file of the certificate authority; empty: the system's",
        examples=["/etc/millrace/s3-ca.pem"],
    )
    connections: int = Field(32, ge=1, le=1024, description="most connections to each endpoint")
    pipeline: int = Field(
        64,
        ge=1,
        le=256,
        description="most requests for small objects sent on a connection before the first is answered; 1: none is, "
        "which also is what Millrace falls back to when a server cannot",
    )
    connect_timeout_s: Seconds = Field(3, description="to open a connection")
    read_timeout_s: Seconds = Field(30, description="the longest pause of a server within a request")
    attempts: int = Field(4, ge=1, le=20, description="tries of a request that may safely be sent again")
    part_bytes: Bytes = Field(
        16 * MIB, ge=5 * MIB, le=5 * GIB, description="bodies larger than this go up in parts of this size"
    )
    part_concurrency: int = Field(2, ge=1, le=16, description="parts under way at once for one object")


Store = Annotated[FilesystemStore | MemoryStore | S3Store | AzureStore | GcsStore, Field(discriminator="kind")]
