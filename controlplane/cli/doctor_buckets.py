"""What doctor asks of the buckets at S3 stores: whether the store is set to remove, archive or hide our copies."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from controlplane.cli.doctor import Check, Finding, Health
from controlplane.model.bucket_facts import judge
from controlplane.ports.errors import NotFound
from controlplane.settings.stores import S3Store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from controlplane.settings.tree import Settings

_ADVICE = "check address, credentials and network; what the store does by itself is not known meanwhile"


def checks(settings: Settings, timeout_s: float) -> list[Check]:
    """None about the buckets of a rule for many: only the store knows which there are."""
    return [
        Check(f"{name} bucket", partial(_bucket, f"{name} bucket", store, timeout_s), _ADVICE)
        for name, store in _stores(settings)
    ]


def _stores(settings: Settings) -> Iterator[tuple[str, S3Store]]:
    for name, store in (("primary", settings.primary), ("persistent", settings.persistent)):
        if isinstance(store, S3Store):
            yield name, store
    for rule in settings.mirror.rules:
        target, many = rule.target, "*" in rule.buckets or "?" in rule.buckets
        if not isinstance(target, S3Store) or (many and "{bucket}" in target.bucket):
            continue
        about = rule.name or (f"{rule.buckets}/{rule.prefix}" if rule.prefix else rule.buckets)
        prefix = target.prefix
        if "{bucket}" not in target.bucket + prefix:
            prefix += "{bucket}/"
        # Of many buckets, all that is below what the places of their copies have in common.
        prefix = prefix.partition("{bucket}")[0] if many else prefix.replace("{bucket}", rule.buckets) + rule.prefix
        bucket = target.bucket.replace("{bucket}", rule.buckets)
        yield f"{about} target", target.model_copy(update={"bucket": bucket, "prefix": prefix})


def _bucket(check: str, store: S3Store, timeout_s: float) -> Finding:
    from controlplane.adapters.s3.bucket_facts import bucket_facts
    from controlplane.wiring.adapters import s3_options

    patient = {"connect_timeout_s": timeout_s / 4, "read_timeout_s": timeout_s / 2, "attempts": 1}
    try:
        facts = bucket_facts(s3_options(store.model_copy(update=patient)))
    except NotFound as error:
        advice = "the first copy makes it" if store.create_bucket else "create it, or set create_bucket = true"
        return Finding(check, Health.WARN, str(error), advice)
    verdict = judge(facts, store.prefix, riak_cs=store.list_version == 1)
    health = Health.FAIL if verdict.broken else Health.WARN if verdict.harmed else Health.OK
    return Finding(check, health, verdict.found, verdict.advice)
