"""What the mirror copies where, how fast, and how often it tries."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from controlplane.settings.scan import Scan
from controlplane.settings.section import Bytes, Seconds, Section
from controlplane.settings.stores import Store

MIB = 1024**2

TimeOfDay = Annotated[str, Field(pattern=r"^(?:[01][0-9]|2[0-3]):[0-5][0-9]$|^24:00$")]
RuleName = Annotated[str, Field(pattern=r"^(?:[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?)?$")]


class Retry(Section):
    """The back-off schedule of failed copies, for what is unavailable; other failures have theirs in proportion."""

    first_s: Seconds = Field(0.5, description="wait after the first failure; with jitter of up to a half")
    factor: float = Field(2.0, ge=1, le=10, description="each further wait is this much longer")
    most_s: Seconds = Field(300, description="no wait is longer")
    budget: int = Field(12, ge=1, description="failures after which a copy becomes a dead letter")


Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


class RateLimit(Section):
    """How fast a rule may go at some times of the week, by this machine's clock. The first that fits counts."""

    days: tuple[Day, ...] = Field((), description="mon, tue, wed, thu, fri, sat, sun; empty: every day")
    begins: TimeOfDay = Field("00:00", description="HH:MM")
    ends: TimeOfDay = Field("24:00", description="HH:MM, exclusive; not after begins: it ends on the next day")
    bytes_per_s: Bytes | None = Field(
        None, description="bytes read from Riak CS; none: unlimited", examples=[10_000_000]
    )
    requests_per_s: float | None = Field(
        None, gt=0, description="requests, four for a small object; none: unlimited", examples=[200]
    )


class MirrorRule(Section):
    """Copies of S3 objects, which clients write through the S3 front. The first rule of a target counts."""

    name: RuleName = Field(
        "",
        description="what operators and the journal call it; empty: made of buckets, prefix and target, and so another "
        "one when these change",
    )
    buckets: str = Field(
        ..., min_length=1, description="the bucket; * stands for any characters, ? for one", examples=["photos-*"]
    )
    prefix: str = Field("", description="only keys that begin with it")
    deletes: bool = Field(True, description="false: what is deleted in Riak CS stays at the target (an archive)")
    read_through: bool = Field(False, description="what Riak CS lost is read from the target")
    limits: tuple[RateLimit, ...] = Field((), description="a timetable; none: as fast as it goes")
    acl: Literal["none", "note", "canned"] = Field(
        "none",
        description="ACLs of the objects: none: copies are the target account's alone; note: the copy's metadata says "
        "it; canned: and public-read, public-read-write and authenticated-read are put on the copy (a request more for "
        "each object)",
    )
    server_copy: Literal["auto", "on", "off"] = Field(
        "auto",
        description="the target's service copies what is larger than 1 MiB by itself; auto: where it is Riak CS, by "
        "the same key; on: also where it is this cluster's S3 front, whose user may read the source; off: never",
    )
    target: Store = Field(
        ...,
        description='where the copies go; "{bucket}" in bucket or prefix stands for the name in Riak CS, without it '
        "each key is preceded by <bucket>/",
    )


class Mirror(Section):
    """The write-behind to the persistent store, and to the targets of the rules."""

    concurrency: int = Field(
        16,
        ge=1,
        le=1024,
        description="most copies under way at once, for blobs and for each rule; fewer while Riak CS answers slowly",
    )
    batch: int = Field(512, ge=1, le=10_000, description="journal entries read and closed at once")
    idle_s: Seconds = Field(0.1, description="how often an empty journal is looked at")
    verify: Literal["head", "read"] = Field(
        "head", description="head: the ETag and metadata of the copy are read back; read: all its bytes are"
    )
    large_bytes: Bytes = Field(
        64 * MIB,
        ge=5 * MIB,
        description="larger objects are copied by ranges into uploads that go on after a restart; they are read twice",
    )
    part_buffers: int = Field(4, ge=1, le=64, description="parts of large objects in memory at once, over all targets")
    abandon_parts_after_s: Seconds = Field(
        259_200, description="unfinished uploads of the mirror are aborted after this"
    )
    delete_grace_s: float = Field(
        0, ge=0, description="how long what was deleted in Riak CS stays at the targets of the rules"
    )
    limits: tuple[RateLimit, ...] = Field((), description="a timetable for blobs; rules have their own")
    retry: Retry = Retry()
    scan: Scan = Scan()
    rules: tuple[MirrorRule, ...] = Field((), description="which S3 objects are copied where; none: none is")
