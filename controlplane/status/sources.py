"""What a process has to tell of itself; status/exposition.py makes metrics of it when it is asked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from controlplane.model.tally import (
    BlobTally,
    GcTally,
    LifecycleTally,
    MirrorTally,
    PublishTally,
    RequestTally,
    ScanTally,
    ShardTally,
    WorkerTally,
)

if TYPE_CHECKING:
    from controlplane.ports.hot_cache import CacheStats, HotCache


@dataclass(slots=True)
class Sources:
    """What this process has to tell; None: not its business."""

    requests: RequestTally | None = None
    blobs: BlobTally | None = None
    mirror: MirrorTally | None = None
    publish: PublishTally | None = None
    hot: HotCache | CacheStats | None = None
    labels: dict[str, str] = field(default_factory=dict)
    """Of millrace_build_info: version, cluster, node."""
    gc: GcTally | None = None
    lifecycle: LifecycleTally | None = None
    scan: ScanTally | None = None
    s3: RequestTally | None = None
    """Requests of the S3 front, by operation in place of the method."""
    shards: ShardTally | None = None
    workers: WorkerTally | None = None
    """Of a gateway with several processes; all others are their sums then."""
