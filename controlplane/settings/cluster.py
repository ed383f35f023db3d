"""How several nodes share the work."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from controlplane.settings.secret import Secret
from controlplane.settings.section import OptionalUrl, ReadableFile, Seconds, Section


class Cluster(Section):
    """Agents of one cluster divide the shards of keys in etcd, and gateways fetch a cold blob once for all."""

    mode: Literal["on", "off"] = Field(
        "off", description="on: this agent is a member and owns shards; off: it works on its own journal only"
    )
    secret: Secret | None = Field(
        None,
        description='the same on all nodes: gateways give each other what they are fetching; { file = "…" }; '
        "none: each fetches for itself",
        examples=[{"file": "/etc/millrace/cluster.secret"}],
    )
    peer_url: OptionalUrl = Field(
        "", description="where the other gateways reach this one, not a balancer; empty: the gateway's host and port"
    )
    peer_ca_file: ReadableFile | None = Field(
        None,
        description="PEM file of the authority of the gateways' certificates; empty: the system's",
        examples=["/etc/millrace/gateways-ca.pem"],
    )
    weight: int = Field(100, ge=0, le=1000, description="share of the shards beside those of other agents; 0: none")
    lease_ttl_s: Seconds = Field(
        10, ge=3, description="the shards of an agent that died are others' within this and two seconds"
    )
