"""What the mirror copies where, how fast, and how often it tries."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from controlplane.settings.scan import Scan
from controlplane.settings.section import Seconds, Section
from controlplane.settings.stores import Store


class Retry(Section):
    """The back-off schedule of failed copies."""

    first_s: Seconds = Field(0.5, description="wait after the first failure; with jitter of up to a half")
    factor: float = Field(2.0, ge=1, le=10, description="each further wait is this much longer")
    most_s: Seconds = Field(300, description="no wait is longer")
    budget: int = Field(12, ge=1, description="failures after which a copy becomes a dead letter")


class MirrorRule(Section):
    """Copies of S3 objects, which clients write through the S3 front. The first rule of a target counts."""

    buckets: str = Field(
        ..., min_length=1, description="the bucket; * stands for any characters, ? for one", examples=["photos-*"]
    )
    prefix: str = Field("", description="only keys that begin with it")
    deletes: bool = Field(True, description="false: what is deleted in Riak CS stays at the target (an archive)")
    read_through: bool = Field(False, description="what Riak CS lost is read from the target")
    target: Store = Field(
        ...,
        description='where the copies go; "{bucket}" in bucket or prefix stands for the name in Riak CS, without it '
        "each key is preceded by <bucket>/",
    )


class Mirror(Section):
    """The write-behind to the persistent store, and to the targets of the rules."""

    concurrency: int = Field(16, ge=1, le=1024, description="copies under way at once")
    batch: int = Field(512, ge=1, le=10_000, description="journal entries read and closed at once")
    idle_s: Seconds = Field(0.1, description="how often an empty journal is looked at")
    verify: Literal["head", "read"] = Field(
        "head", description="head: the ETag and metadata of the copy are read back; read: all its bytes are"
    )
    retry: Retry = Retry()
    scan: Scan = Scan()
    rules: tuple[MirrorRule, ...] = Field((), description="which S3 objects are copied where; none: none is")
