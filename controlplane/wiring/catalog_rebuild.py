"""The catalog from the stores: opens what the settings name, and closes it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack

from controlplane.adapters.system_clock import SystemClock
from controlplane.services.catalog_rebuild import CatalogRebuild, Rebuilt
from controlplane.settings.tree import Settings
from controlplane.wiring.adapters import PERSISTENT, PRIMARY, build_store, open_catalog


async def rebuild_catalog(settings: Settings, moved: Callable[[int], None]) -> Rebuilt:
    """Beside the running gateway and agent: they write the same rows. Raises what the stores and the catalog raise."""
    clock = SystemClock()
    settings.node.data_dir.mkdir(parents=True, exist_ok=True, mode=0o750)
    async with AsyncExitStack() as closing:
        primary = await build_store(PRIMARY, settings.primary, clock)
        closing.push_async_callback(primary.aclose)
        stores = [primary]
        if settings.persistent is not None:
            persistent = await build_store(PERSISTENT, settings.persistent, clock)
            closing.push_async_callback(persistent.aclose)
            stores.append(persistent)
        catalog = await open_catalog(settings)
        closing.push_async_callback(catalog.aclose)
        rebuild = CatalogRebuild(catalog, clock, moved)
        await rebuild.blobs(stores, primary)
        if settings.mirror.rules:
            # Not at the top: a node without S3 objects need not load what is about them.
            from controlplane.wiring.riak_cs import build_accounts
            from controlplane.wiring.s3_mirror import open_s3_mirror
            from controlplane.wiring.scan import SourceBuckets

            mirror = await open_s3_mirror(settings, primary, clock)
            assert mirror is not None
            closing.push_async_callback(mirror.aclose)
            accounts = build_accounts(settings, clock)
            closing.push_async_callback(accounts.aclose)
            await rebuild.copies(mirror.rules, mirror.targets, SourceBuckets(settings, accounts))
        return rebuild.result
