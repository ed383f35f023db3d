"""The S3 front: the gateway's other port, before Riak CS."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Annotated

from pydantic import AfterValidator, Field

from controlplane.settings.secret import Secret
from controlplane.settings.section import BaseUrl, Bytes, Name, Port, ReadableFile, Seconds, Section, fault
from controlplane.settings.tls import Tls


def _network(text: str) -> str:
    try:
        return str(ip_network(text))
    except ValueError as error:
        raise fault(f"must be an address or a network such as 10.0.0.0/8, not {text[:60]!r}") from error


Network = Annotated[str, AfterValidator(_network)]

_GIB = 1024**3


class S3Front(Section):
    """S3 for clients, in front of Riak CS. Off until `endpoints` name the Riak CS nodes."""

    host: str = Field("127.0.0.1", min_length=1, description="address to listen on")
    port: Port = Field(8480, description="port to listen on; 0 takes a free one")
    tls: Tls = Tls()
    root_host: str = Field(
        "",
        pattern=r"^(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*)?$",
        description="<bucket>.<root_host> addresses a bucket (virtual-host style); empty: path style only",
    )
    proxies: tuple[Network, ...] = Field(
        (),
        description="networks whose X-Forwarded-For and X-Forwarded-Proto are believed: your HAProxy's",
        examples=[["10.0.0.0/8"]],
    )
    region: str = Field("us-east-1", min_length=1, description="the region that clients see and sign for")
    check_region: bool = Field(False, description="refuse SigV4 signatures for another region than `region`")
    endpoints: tuple[BaseUrl, ...] = Field(
        (), description="S3 ports of the Riak CS nodes; empty: no S3 front", examples=[["http://127.0.0.1:8080"]]
    )
    admin_urls: tuple[BaseUrl, ...] = Field(
        (), description="admin ports of the Riak CS nodes", examples=[["http://127.0.0.1:8000"]]
    )
    admin_key: str = Field("", description="access key of the admin user of Riak CS", examples=["J3RZLMAIA7WEPRYXUK45"])
    admin_secret: Secret | None = Field(
        None, description='{ file = "…" } or { env = "…" }', examples=[{"env": "S3_SECRET_KEY"}]
    )
    secret_cache_s: Seconds = Field(
        60, le=60, description="a disabled user or an old secret is refused within this; also when Riak CS is away"
    )
    access_cache_s: Seconds = Field(
        5, le=60, description="a bucket's ACL and policy changed through another gateway count within this"
    )
    ca_file: ReadableFile | None = Field(
        None,
        description="PEM file of the certificate authority of Riak CS; empty: the system's",
        examples=["/etc/millrace/riak-cs-ca.pem"],
    )
    connections: int = Field(128, ge=1, le=4096, description="most connections to each Riak CS node, of each worker")
    connect_timeout_s: Seconds = Field(2, description="to open a connection to Riak CS")
    read_timeout_s: Seconds = Field(60, description="the longest pause of Riak CS within a request")
    silence_s: Seconds = Field(
        4, ge=2, le=60, description="a Riak CS host that acknowledges nothing for so long (TCP) is taken for dead"
    )
    first_answer_s: Seconds = Field(
        8,
        description="a look-up (HEAD, GET of an object, its ACL) that is not begun to be answered for so long is asked "
        "for at another node",
    )
    attempts: int = Field(3, ge=1, le=10, description="tries of a request that may safely be sent again")
    max_object_bytes: Bytes = Field(
        5 * _GIB, ge=1, description="the largest body of one PUT or part; larger objects come in parts"
    )
    private_bucket: Name = Field(
        "millrace-s3-documents",
        min_length=3,
        description="bucket of the admin user for tags, CORS and lifecycle rules; made at its first use",
    )
    lifecycle_interval_s: Seconds = Field(
        3600,
        description="how often one agent looks for objects that lifecycle rules let expire; days end at midnight UTC",
    )
    journal: bool = Field(True, description="every write is in the journal before it is acknowledged")
    lock_ttl_s: Seconds = Field(
        30, ge=5, description="lease of the lock in etcd under which a conditional write is carried out"
    )
