"""Buckets for tests, made as a store with `create_bucket` makes its own."""

from __future__ import annotations

from random import Random

from controlplane.adapters.s3 import S3ObjectStore, S3Options
from controlplane.adapters.system_clock import SystemClock
from controlplane.model.keys import StoreName


async def make_bucket(options: S3Options) -> bool:
    """Whether it was missing."""
    store = S3ObjectStore(StoreName("bucket"), options, SystemClock(), Random(1))
    try:
        return await store.create_bucket()
    finally:
        await store.aclose()
