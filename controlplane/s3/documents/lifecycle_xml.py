"""LifecycleConfiguration: the document, in and out. What is not carried out here is refused, not stored."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from hashlib import sha256
from typing import Final

from controlplane.s3.dates import MalformedDate, iso_timestamp, parse_timestamp
from controlplane.s3.documents.request_xml import boolean, integer, malformed, only, request_root, text
from controlplane.s3.documents.tagging import Tagged, checked_tags
from controlplane.s3.fault import Code, S3Fault
from controlplane.s3.lifecycle import DAY, Filter, Lifecycle, LifecycleRule
from controlplane.s3.xml import Element
from controlplane.s3.xml_text import document, element, optional

MAX_RULES: Final = 1000
MAX_ID: Final = 255

_RULE: Final = {
    "ID", "Status", "Prefix", "Filter", "Expiration", "AbortIncompleteMultipartUpload", "NoncurrentVersionExpiration",
}  # fmt: skip
_FILTERS: Final = ("Prefix", "Tag", "ObjectSizeGreaterThan", "ObjectSizeLessThan")
_NEGATIVE: Final = re.compile(r"-[0-9]{1,18}\Z", re.ASCII)
_MAX_DAYS: Final = 2**31 - 1


def _invalid(message: str) -> S3Fault:
    return S3Fault(Code.INVALID_ARGUMENT, message)


def _tag(parent: Element) -> tuple[str, str]:
    only(parent, ("Key", "Value"))
    return text(parent, "Key"), text(parent, "Value")


def _filter_of(parent: Element, allowed: Iterable[str]) -> Filter:
    names = tuple(allowed)
    if any(child.name not in names for child in parent.children):
        raise malformed("A Filter has an unexpected element.")
    for name in ("Prefix", "ObjectSizeGreaterThan", "ObjectSizeLessThan"):
        if [child.name for child in parent.children].count(name) > 1:
            raise malformed(f"A Filter has {name} twice.")
    tags = checked_tags((_tag(child) for child in parent.children if child.name == "Tag"), Tagged.OBJECT)
    larger = integer(parent, "ObjectSizeGreaterThan") if parent.find("ObjectSizeGreaterThan") else None
    smaller = integer(parent, "ObjectSizeLessThan") if parent.find("ObjectSizeLessThan") else None
    if larger is not None and smaller is not None and larger + 1 >= smaller:
        raise S3Fault(Code.INVALID_REQUEST, "ObjectSizeLessThan must be more than one above ObjectSizeGreaterThan.")
    return Filter(parent.text_of("Prefix") or "", tags, larger, smaller)


def _filter(rule: Element) -> tuple[Filter, bool]:
    """The filter, and whether it stood in a Filter element."""
    given, prefix = rule.find("Filter"), rule.find("Prefix")
    if (given is None) == (prefix is None):
        raise malformed("A rule has a Filter, or (in the old form) a Prefix.")
    if given is None:
        return Filter(text(rule, "Prefix")), False
    both = given.find("And")
    if both is None:
        if len(given.children) > 1:
            raise malformed("A Filter has one predicate; several stand in And.")
        return _filter_of(given, _FILTERS), True
    if len(given.children) != 1 or len(both.children) < 2:
        raise malformed("And has two predicates or more, and nothing stands beside it.")
    return _filter_of(both, _FILTERS), True


def _days(parent: Element, name: str, what: str) -> int:
    days = 0 if _NEGATIVE.match(text(parent, name).strip()) else integer(parent, name)
    if not 1 <= days <= _MAX_DAYS:
        raise _invalid(f"'{name}' for {what} action must be a positive integer")
    return days


def _midnight(parent: Element) -> float:
    try:
        moment = parse_timestamp(text(parent, "Date").strip())
    except MalformedDate as error:
        raise malformed("Date must be in ISO 8601, for example 2030-01-31T00:00:00Z.") from error
    if moment % DAY:
        raise _invalid("'Date' must be at midnight GMT")
    return moment


def _expiration(parent: Element) -> tuple[int | None, float | None, bool]:
    if len(parent.children) != 1 or parent.children[0].name not in ("Days", "Date", "ExpiredObjectDeleteMarker"):
        raise malformed("Expiration has one of Days, Date and ExpiredObjectDeleteMarker.")
    match parent.children[0].name:
        case "Days":
            return _days(parent, "Days", "Expiration"), None, False
        case "Date":
            return None, _midnight(parent), False
        case _:
            return None, None, boolean(parent, "ExpiredObjectDeleteMarker")


def _noncurrent(parent: Element) -> tuple[int, int | None]:
    only(parent, ("NoncurrentDays", "NewerNoncurrentVersions"))
    newer = (
        _days(parent, "NewerNoncurrentVersions", "NoncurrentVersionExpiration") if len(parent.children) > 1 else None
    )
    return _days(parent, "NoncurrentDays", "NoncurrentVersionExpiration"), newer


def _rule(parent: Element) -> LifecycleRule:
    if parent.name != "Rule":
        raise malformed(f"LifecycleConfiguration has an unexpected {parent.name[:80]}.")
    for child in parent.children:
        if child.name in ("Transition", "NoncurrentVersionTransition"):
            raise S3Fault(Code.NOT_IMPLEMENTED, "There is one storage class here: rules cannot have transitions.")
    only(parent, _RULE)
    status = text(parent, "Status")
    if status not in ("Enabled", "Disabled"):
        raise malformed("Status is Enabled or Disabled.")
    found, filter_element = _filter(parent)
    days, date, markers, abort_days, noncurrent = None, None, False, None, None
    if (expiration := parent.find("Expiration")) is not None:
        days, date, markers = _expiration(expiration)
    if (abort := parent.find("AbortIncompleteMultipartUpload")) is not None:
        only(abort, ("DaysAfterInitiation",))
        abort_days = _days(abort, "DaysAfterInitiation", "AbortIncompleteMultipartUpload")
    if (old := parent.find("NoncurrentVersionExpiration")) is not None:
        noncurrent = _noncurrent(old)
    if expiration is None and abort is None and old is None:
        raise S3Fault(Code.INVALID_REQUEST, "At least one action needs to be specified in a rule.")
    narrow = found.tags or found.larger_than is not None or found.smaller_than is not None
    if narrow and (abort is not None or markers):
        raise S3Fault(
            Code.INVALID_REQUEST,
            "AbortIncompleteMultipartUpload and ExpiredObjectDeleteMarker cannot be specified with tags or sizes.",
        )
    rule_id = (parent.text_of("ID") or "").strip()
    if len(rule_id) > MAX_ID:
        raise _invalid(f"ID length should not exceed allowed limit of {MAX_ID}")
    return LifecycleRule(
        rule_id, status == "Enabled", found, days, date, abort_days, markers, noncurrent, filter_element
    )


def _named(rules: list[LifecycleRule]) -> Lifecycle:
    """Rules without an id get one, always the same one for the same rule at the same place."""
    named = [
        rule if rule.id else replace(rule, id=sha256(f"{place}:{rule!r}".encode()).hexdigest()[:32])
        for place, rule in enumerate(rules)
    ]
    if len({rule.id for rule in named}) != len(named):
        raise _invalid("Rule ID must be unique. Found same ID for more than one rule")
    return tuple(named)


def parse_lifecycle(body: bytes) -> Lifecycle:
    """Raises MalformedXML, InvalidArgument, InvalidRequest; NotImplemented for transitions."""
    root = request_root(body, "LifecycleConfiguration")
    if not 1 <= len(root.children) <= MAX_RULES:
        raise malformed(f"A LifecycleConfiguration has 1 to {MAX_RULES} rules.")
    return _named([_rule(child) for child in root.children])


def _written_filter(rule: LifecycleRule) -> str:
    found = rule.filter
    if not rule.filter_element:
        return element("Prefix", found.prefix)
    tags = [f"<Tag>{element('Key', key)}{element('Value', value)}</Tag>" for key, value in found.tags]
    sizes = [
        element(name, value)
        for name, value in (
            ("ObjectSizeGreaterThan", found.larger_than),
            ("ObjectSizeLessThan", found.smaller_than),
        )
        if value is not None
    ]
    parts = [*([element("Prefix", found.prefix)] if found.prefix else []), *tags, *sizes]
    if len(parts) > 1:
        return f"<Filter><And>{''.join(parts)}</And></Filter>"
    return f"<Filter>{''.join(parts) or '<Prefix></Prefix>'}</Filter>"


def _written_actions(rule: LifecycleRule) -> str:
    written = ""
    date = None if rule.expire_date is None else iso_timestamp(rule.expire_date)
    if rule.expire_days is not None or date is not None or rule.delete_markers:
        inner = optional("Days", rule.expire_days) + optional("Date", date)
        written += f"<Expiration>{inner or '<ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker>'}</Expiration>"
    if rule.noncurrent is not None:
        days, newer = rule.noncurrent
        inner = element("NoncurrentDays", days) + optional("NewerNoncurrentVersions", newer)
        written += f"<NoncurrentVersionExpiration>{inner}</NoncurrentVersionExpiration>"
    if rule.abort_days is not None:
        inner = element("DaysAfterInitiation", rule.abort_days)
        written += f"<AbortIncompleteMultipartUpload>{inner}</AbortIncompleteMultipartUpload>"
    return written


def render_lifecycle(rules: Lifecycle) -> bytes:
    return document(
        "LifecycleConfiguration",
        "".join(
            f"<Rule>{element('ID', rule.id)}{_written_filter(rule)}"
            f"{element('Status', 'Enabled' if rule.enabled else 'Disabled')}{_written_actions(rule)}</Rule>"
            for rule in rules
        ),
    )
