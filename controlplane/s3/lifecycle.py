"""Lifecycle rules and what they make due. Pure: the agent carries it out (services/lifecycle.py).

Source: Amazon S3 User Guide, "Managing the lifecycle of objects". Buckets here have no versions, so an object that
expires is deleted. An action in days is due at the first midnight (UTC) after that many days.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import ceil
from typing import Final, TypeAlias
from urllib.parse import quote

from controlplane.s3.sigv2 import http_date

DAY: Final = 86_400


@dataclass(frozen=True, slots=True)
class Filter:
    """Which objects a rule is about: all that fulfil everything said here."""

    prefix: str = ""
    tags: tuple[tuple[str, str], ...] = ()
    larger_than: int | None = None
    """Bytes; the object must have more."""
    smaller_than: int | None = None
    """Bytes; the object must have fewer."""

    def takes(self, key: str, size: int, tags: Mapping[str, str]) -> bool:
        return self.may_take(key, size) and all(tags.get(name) == value for name, value in self.tags)

    def may_take(self, key: str, size: int) -> bool:
        """Whether it takes the object if that has the right tags."""
        return (
            key.startswith(self.prefix)
            and (self.larger_than is None or size > self.larger_than)
            and (self.smaller_than is None or size < self.smaller_than)
        )


@dataclass(frozen=True, slots=True)
class LifecycleRule:
    id: str
    enabled: bool
    filter: Filter = Filter()
    expire_days: int | None = None
    """Days after the last modification."""
    expire_date: float | None = None
    """Unix seconds of a midnight from which on everything that the filter takes expires."""
    abort_days: int | None = None
    """Days after which an unfinished multipart upload is aborted."""
    delete_markers: bool = False
    """ExpiredObjectDeleteMarker: without versions there are none, as in any S3 bucket that never had versioning."""
    noncurrent: tuple[int, int | None] | None = None
    """NoncurrentVersionExpiration, days and versions to keep: nothing to do, for the same reason."""
    filter_element: bool = True
    """Whether the document had a Filter; old ones have a Prefix instead, and get one back."""

    def expires_at(self, modified_at: float) -> float | None:
        """When an object that the filter takes expires, in Unix seconds; None when this rule lets nothing expire."""
        return self.expire_date if self.expire_days is None else days_after(modified_at, self.expire_days)


Lifecycle: TypeAlias = tuple[LifecycleRule, ...]


@dataclass(frozen=True, slots=True)
class Candidate:
    """An object as a listing shows it. `tags` are needed only when a rule asks for them (`asks_for_tags`)."""

    key: str
    size: int
    modified_at: float
    """Unix seconds."""
    tags: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Expiry:
    at: float
    """Unix seconds."""
    rule_id: str


def may_be_due(candidate: Candidate, rules: Lifecycle, now: float) -> bool:
    """Whether it would be due if it had whatever tags the rules ask for: what is not, need not be looked at."""
    for rule in rules:
        if rule.enabled and rule.filter.may_take(candidate.key, candidate.size):
            at = rule.expires_at(candidate.modified_at)
            if at is not None and at <= now:
                return True
    return False


def asks_for_tags(rules: Lifecycle, key: str) -> bool:
    """Whether a key's tags decide about it."""
    return any(rule.enabled and rule.filter.tags and key.startswith(rule.filter.prefix) for rule in rules)


def days_after(moment: float, days: int) -> float:
    """The first midnight (UTC) that is at least so many days later."""
    return float(ceil((moment + days * DAY) / DAY) * DAY)


def expiry_of(candidate: Candidate, rules: Lifecycle) -> Expiry | None:
    """When an object expires and by which rule, the earliest if several take it; None when no rule does. Also what the
    header x-amz-expiration tells."""
    tags = dict(candidate.tags)
    found: Expiry | None = None
    for rule in rules:
        if not rule.enabled or not rule.filter.takes(candidate.key, candidate.size, tags):
            continue
        at = rule.expires_at(candidate.modified_at)
        if at is not None and (found is None or at < found.at):
            found = Expiry(at, rule.id)
    return found


def expiration_header(expiry: Expiry) -> str:
    """The value of x-amz-expiration."""
    return f'expiry-date="{http_date(int(expiry.at))}", rule-id="{quote(expiry.rule_id)}"'


def due(objects: Iterable[Candidate], rules: Lifecycle, now: float) -> Iterator[tuple[Candidate, Expiry]]:
    """The objects that are to be deleted now. Never one whose time has not come, and never one that no enabled rule
    takes."""
    for candidate in objects:
        expiry = expiry_of(candidate, rules)
        if expiry is not None and expiry.at <= now:
            yield candidate, expiry


def abandoned(key: str, initiated_at: float, rules: Lifecycle, now: float) -> bool:
    """Whether a multipart upload is to be aborted now."""
    return any(
        rule.enabled
        and rule.abort_days is not None
        and key.startswith(rule.filter.prefix)
        and days_after(initiated_at, rule.abort_days) <= now
        for rule in rules
    )
