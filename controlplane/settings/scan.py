"""The scan: how the mirror compares whole buckets with their copies, and what it may delete by that."""

from __future__ import annotations

from pydantic import Field

from controlplane.settings.section import Seconds, Section


class Scan(Section):
    """Compares both listings of every rule, and puts what differs into the journal (anti-entropy)."""

    interval_s: float = Field(
        0,
        ge=0,
        le=86_400 * 366,
        description="from the end of one scan, which agents share where there is an etcd, to the start of the next; "
        "0: the agent never scans",
    )
    workers: int = Field(4, ge=1, le=64, description="stretches of a bucket that each node lists side by side")
    journal_share: float = Field(
        0.5, gt=0, le=1, description="a scan fills the journal up to this share, and waits; the rest is for clients"
    )
    deletes: bool = Field(
        False,
        description="true: copies whose objects are gone are deleted under the rules with deletes, as the guard "
        "allows; false: they are reported",
    )
    grace_s: Seconds = Field(86_400, description="an object is gone only when scans have not seen it for so long")
    most_deletes: int = Field(1000, ge=0, description="guard: one scan deletes no more, or nothing at all")
    most_share: float = Field(
        0.1, ge=0, le=1, description="guard: of a bucket's copies one scan deletes no more than this share, or nothing"
    )
