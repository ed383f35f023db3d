"""Journal, catalog and hot tier where the nodes of a cluster share them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from controlplane.ports.catalog import Catalog
from controlplane.ports.clock import Clock
from controlplane.ports.journal import Journal
from controlplane.settings.tree import Settings

if TYPE_CHECKING:
    from controlplane.adapters.riak_kv.kv import RiakKv
    from controlplane.adapters.riak_kv.options import RiakKvOptions
    from controlplane.ports.hot_cache import HotCache
    from controlplane.ports.hot_tier import HotTier


def riak_kv_options(settings: Settings, bucket_type: str) -> RiakKvOptions:
    from controlplane.adapters.riak_kv.options import RiakKvOptions

    riak = settings.riak_kv
    return RiakKvOptions(
        endpoints=riak.pb_endpoints if riak.protocol == "pb" else riak.endpoints,
        bucket_type=bucket_type,
        username=riak.username,
        password=riak.password.reveal() if riak.password is not None else "",
        ca_file=riak.ca_file,
        connections=riak.connections,
        connect_timeout_s=riak.connect_timeout_s,
        timeout_s=riak.timeout_s,
    )


def build_riak_kv(settings: Settings, clock: Clock, bucket_type: str = "") -> RiakKv:
    """A client with connections of its own. Raises Rejected when the library of the protocol is not installed."""
    options = riak_kv_options(settings, bucket_type or settings.riak_kv.bucket_type)
    if settings.riak_kv.protocol == "pb":
        from controlplane.adapters.riak_pb import RiakPb

        return RiakPb(options, clock)
    from controlplane.adapters.riak_kv.http_client import RiakHttp

    return RiakHttp(options, clock)


async def open_riak_journal(settings: Settings, clock: Clock) -> Journal:
    from controlplane.adapters.riak_kv import RiakJournal

    journal = RiakJournal(
        build_riak_kv(settings, clock),
        cluster=settings.node.cluster,
        node=settings.node.name,
        limit=settings.journal.limit,
        clock=clock,
        recount_s=settings.journal.recount_s,
    )
    await journal.open()
    return journal


async def open_riak_catalog(settings: Settings, clock: Clock) -> Catalog:
    from controlplane.adapters.riak_kv import RiakCatalog

    catalog = RiakCatalog(build_riak_kv(settings, clock), cluster=settings.node.cluster, clock=clock)
    await catalog.open()
    return catalog


def with_tier(settings: Settings, near: HotCache, clock: Clock) -> HotCache:
    """The node's cache with the tier behind it that the settings name."""
    from controlplane.adapters.tiered_cache import TieredHotCache

    cache = settings.hot_cache
    tier = cache.tier
    return TieredHotCache(
        near, build_tier(settings, clock), clock=clock, max_blob_bytes=min(tier.max_blob_bytes, cache.max_blob_bytes)
    )


def build_tier(settings: Settings, clock: Clock) -> HotTier:
    """Raises Rejected when the library for it is not installed."""
    tier = settings.hot_cache.tier
    match settings.hot_cache.kind:
        case "redis":
            from controlplane.adapters.redis_tier import RedisTier

            password = tier.password.reveal() if tier.password is not None else ""
            return RedisTier(
                tier.servers[0],
                prefix=tier.prefix,
                ttl_s=tier.ttl_s,
                timeout_s=tier.timeout_s,
                username=tier.username,
                password=password,
            )
        case "memcached":
            from controlplane.adapters.memcached_tier import MemcachedTier

            return MemcachedTier(tier.servers, prefix=tier.prefix, ttl_s=tier.ttl_s, timeout_s=tier.timeout_s)
        case "riak_kv":
            from controlplane.adapters.riak_kv.hot_tier import RiakHotTier

            kv = build_riak_kv(settings, clock, settings.riak_kv.hot_bucket_type)
            return RiakHotTier(kv, f"{settings.node.cluster}.hot", timeout_s=tier.timeout_s)
        case other:
            raise AssertionError(f"hot_cache.kind {other} has no tier")
