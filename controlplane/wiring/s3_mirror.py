"""The mirror of S3 objects from its settings: what the gateway, which reports, and the agent, which copies, share."""

from __future__ import annotations

import hashlib
import json
import logging
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from controlplane.adapters.prefixed_stores import PrefixedStores
from controlplane.adapters.s3 import S3Buckets, S3Options, S3ServerCopies, is_one_service
from controlplane.adapters.s3.buckets import BUCKET
from controlplane.model.keys import Bucket, StoreName
from controlplane.model.mirror_rules import AclCarried, MirrorRule
from controlplane.model.rate import Limit
from controlplane.ports.bucket_stores import BucketStores
from controlplane.ports.clock import Clock
from controlplane.ports.object_store import ObjectStore
from controlplane.ports.server_copy import ServerCopies
from controlplane.ports.upstream import RenewableKeyPair
from controlplane.services.object_tombstones import ObjectTombstones
from controlplane.services.source_tags import SourceTags
from controlplane.settings.cloud_stores import AzureStore, GcsStore
from controlplane.settings.mirror import MirrorRule as RuleSettings
from controlplane.settings.mirror import RateLimit
from controlplane.settings.stores import S3Store, Store
from controlplane.settings.tree import Settings
from controlplane.wiring.adapters import build_store, s3_options
from controlplane.wiring.admin_keys import admin_keys
from controlplane.wiring.cloud_stores import build_cloud_buckets

log = logging.getLogger(__name__)

SOURCE = StoreName("riak-cs")
_MOST_OF_ONE_PUT = 5 << 30
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@dataclass(frozen=True, slots=True)
class S3Mirror:
    rules: Sequence[MirrorRule]
    source: S3Buckets
    """Riak CS by its admin's key, which may read every object."""
    targets: dict[str, BucketStores]
    tombstones: ObjectTombstones
    tags: SourceTags
    at_service: Mapping[str, ServerCopies]
    """By the names of rules: how the target's service copies by itself, where it has the source too."""

    async def aclose(self) -> None:
        for stores in (self.source, *self.targets.values()):
            await stores.aclose()


async def open_s3_mirror(settings: Settings, primary: ObjectStore, clock: Clock) -> S3Mirror | None:
    """None when no rule is set. `primary` holds the tombstones. Raises what opening an embedded target may."""
    if not settings.mirror.rules:
        return None
    known: list[tuple[Store, StoreName]] = []
    targets: dict[str, BucketStores] = {}
    rules: list[MirrorRule] = []
    for said in settings.mirror.rules:
        name = next((name for store, name in known if store == said.target), None)
        if name is None:
            name = StoreName(f"target-{len(known) + 1}")
            known.append((said.target, name))
            targets[name] = await _build_target(name, said.target, settings.mirror.large_bytes, clock)
        rules.append(
            MirrorRule(
                said.buckets,
                said.prefix,
                name,
                deletes=said.deletes,
                read_through=said.read_through,
                acl=AclCarried(said.acl),
                name=rule_name(said),
            )
        )
    jitter = random.Random()  # noqa: S311 - jitter, not a secret
    source = S3Buckets(SOURCE, _source_options(settings, clock), clock, jitter, lenient=True)
    tags = SourceTags(source, Bucket(settings.s3.private_bucket), clock)
    at_service: dict[str, ServerCopies] = {}
    for rule, said in zip(rules, settings.mirror.rules, strict=True):
        target = targets[rule.target]
        if isinstance(target, S3Buckets) and _copies_by_itself(said.server_copy, source, target):
            at_service[rule.name] = S3ServerCopies(source, target)
    return S3Mirror(tuple(rules), source, targets, ObjectTombstones(primary, clock), tags, at_service)


def _copies_by_itself(said: str, source: S3Buckets, target: S3Buckets) -> bool:
    return said == "on" or (said == "auto" and is_one_service(source.template, target.template))


def rule_name(rule: RuleSettings) -> str:
    """What entries in the journal call it. Where the settings give no name, one that stays the same as long as the rule
    is about the same objects and the same target, whatever its place among the others."""
    if rule.name:
        return rule.name
    target = rule.target
    match target:
        case S3Store():
            place = [target.endpoints[0], target.bucket, target.prefix]
        case AzureStore() | GcsStore():
            place = [target.endpoint, target.bucket, target.prefix]
        case _:
            place = [str(getattr(target, "path", ""))]
    text = json.dumps([rule.buckets, rule.prefix, target.kind, *place])
    return f"rule-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def limits_of(timetable: Sequence[RateLimit]) -> tuple[Limit, ...]:
    """A timetable of the settings as values of the model."""
    return tuple(
        Limit(
            limit.bytes_per_s,
            limit.requests_per_s,
            frozenset(_DAYS.index(day) for day in limit.days) or frozenset(range(7)),
            _minutes(limit.begins),
            _minutes(limit.ends),
        )
        for limit in timetable
    )


def _minutes(time_of_day: str) -> int:
    hours, minutes = time_of_day.split(":")
    return int(hours) * 60 + int(minutes)


def _source_options(settings: Settings, clock: Clock) -> S3Options:
    s3 = settings.s3
    admin = admin_keys(settings, clock)
    return S3Options(
        endpoints=s3.endpoints,
        bucket=BUCKET,
        region=s3.region,
        access_key=admin.access_key,
        secret_key=admin.secret_key,
        renewal=admin.renewal if isinstance(admin, RenewableKeyPair) else None,
        list_version=1,
        conditional_put=False,
        ca_file=s3.ca_file,
        connect_timeout_s=s3.connect_timeout_s,
        read_timeout_s=s3.read_timeout_s,
        silence_s=s3.silence_s,
    )


async def _build_target(name: StoreName, store: Store, large_bytes: int, clock: Clock) -> BucketStores:
    if isinstance(store, AzureStore | GcsStore):
        return build_cloud_buckets(name, store)
    if not isinstance(store, S3Store):
        return PrefixedStores(await build_store(name, store, clock))
    options = replace(s3_options(store), whole_bytes=min(large_bytes, _MOST_OF_ONE_PUT))
    if BUCKET not in options.bucket + options.prefix:
        options = replace(options, prefix=f"{options.prefix}{BUCKET}/")
    jitter = random.Random()  # noqa: S311 - jitter, not a secret
    return S3Buckets(name, options, clock, jitter, create=store.create_bucket)
