"""How several agents share the work."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from controlplane.settings.section import Seconds, Section


class Cluster(Section):
    """Agents of one cluster divide the shards of keys among each other, in etcd; needs directory.etcd."""

    mode: Literal["on", "off"] = Field(
        "off", description="on: this agent is a member and owns shards; off: it works on its own journal only"
    )
    weight: int = Field(100, ge=0, le=1000, description="share of the shards beside those of other agents; 0: none")
    lease_ttl_s: Seconds = Field(
        10, ge=3, description="the shards of an agent that died are others' within this and two seconds"
    )
