"""Conditional headers: of reads in the precedence of RFC 9110, section 13.2.2; of writes as S3 has them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from controlplane.s3.claim import Fields, joined
from controlplane.s3.dates import MalformedDate, parse_http_date
from controlplane.s3.etag import unquote_etag
from controlplane.s3.fault import Code, S3Fault

_TAGS: Final = re.compile(r'\s*(?:W/)?"[^"]*"\s*|[^,"]*')
"""One entry of a list: quoted tags may hold commas, and S3 takes tags without quotes."""


class Outcome(Enum):
    SERVE = 200
    NOT_MODIFIED = 304
    FAILED = 412


@dataclass(frozen=True, slots=True)
class ReadConditions:
    """None where the header is not there, or (dates) cannot be read and is ignored."""

    if_match: str | None = None
    if_none_match: str | None = None
    if_modified_since: float | None = None
    if_unmodified_since: float | None = None

    def judge(self, etag: str, modified_at: float) -> Outcome:
        """`etag` without quotes; `modified_at` in Unix seconds, of which only whole ones count."""
        if self.if_match is not None:
            if not _names(self.if_match, etag):
                return Outcome.FAILED
        elif self.if_unmodified_since is not None and int(modified_at) > self.if_unmodified_since:
            return Outcome.FAILED
        if self.if_none_match is not None:
            if _names(self.if_none_match, etag):
                return Outcome.NOT_MODIFIED
        elif self.if_modified_since is not None and int(modified_at) <= self.if_modified_since:
            return Outcome.NOT_MODIFIED
        return Outcome.SERVE


def _names(header: str, etag: str) -> bool:
    """Whether a list of ETags has this one, or is `*`."""
    if header.strip() == "*":
        return True
    return any(unquote_etag(tag) == etag for tag in _TAGS.findall(header) if tag.strip())


def read_conditions(fields: Fields, prefix: str = "") -> ReadConditions:
    """`prefix` is "x-amz-copy-source-" for the source of a copy (where NOT_MODIFIED means 412)."""
    values = joined(fields)
    return ReadConditions(
        _text(values, prefix + "if-match"),
        _text(values, prefix + "if-none-match"),
        _date(values, prefix + "if-modified-since"),
        _date(values, prefix + "if-unmodified-since"),
    )


@dataclass(frozen=True, slots=True)
class WriteCondition:
    """The condition of a PUT, a copy, a completion or a delete: one of the first three is set, or (deletes) any of the
    others."""

    absent: bool = False
    """If-None-Match: *"""
    etag: str | None = None
    """If-Match, without quotes; "*": any."""
    other_than: str | None = None
    """If-None-Match with an ETag, without quotes."""
    size: int | None = None
    modified_at: float | None = None
    """Unix seconds, of which only whole ones count."""
    deletes: bool = False
    """What is not there needs no deleting: the condition of a delete holds then (S3 API Reference, DeleteObject)."""

    def judge(self, found: Found | None) -> Failure | None:
        """None: it holds. `found` is None when there is no object."""
        if found is None:
            return Failure.MISSING if self.etag is not None and not self.deletes else None
        if self.absent or self.other_than == found.etag:
            return Failure.IF_NONE_MATCH
        if self.etag not in (None, "*", found.etag):
            return Failure.IF_MATCH
        if self.size not in (None, found.size):
            return Failure.SIZE
        if self.modified_at is not None and int(self.modified_at) != int(found.modified_at):
            return Failure.MODIFIED
        return None


@dataclass(frozen=True, slots=True)
class Found:
    """The object that a condition is judged by. `etag` without quotes; `modified_at` in Unix seconds."""

    etag: str
    size: int
    modified_at: float


class Failure(Enum):
    """What did not hold, by the name of the header that asked for it; MISSING: there is no object to match."""

    MISSING = ""
    IF_NONE_MATCH = "If-None-Match"
    IF_MATCH = "If-Match"
    SIZE = "x-amz-if-match-size"
    MODIFIED = "x-amz-if-match-last-modified-time"


def write_condition(fields: Fields) -> WriteCondition | None:
    """The condition that the headers of a write set, None when they set none.

    Raises S3Fault: NotImplemented for what is not evaluated on writes (both headers at once, dates), InvalidArgument
    for a list of ETags.
    """
    values = joined(fields)
    none_match, match = _text(values, "if-none-match"), _text(values, "if-match")
    for header in ("if-modified-since", "if-unmodified-since"):
        if header.encode() in values:
            raise _not_served(header, "dates are no conditions of a write")
    if none_match is not None:
        if match is not None:
            raise _not_served("If-Match", "it cannot be combined with If-None-Match")
        if none_match.strip() == "*":
            return WriteCondition(absent=True)
        return WriteCondition(other_than=_one_etag("If-None-Match", none_match))
    return None if match is None else WriteCondition(etag=_one_etag("If-Match", match))


def delete_condition(fields: Fields) -> WriteCondition | None:
    """The same of a delete, which knows two more: the size, and the date of the object. Raises S3Fault."""
    values = joined(fields)
    size, date = _text(values, Failure.SIZE.value), _text(values, Failure.MODIFIED.value)
    found = write_condition(fields)
    if size is None and date is None and found is None:
        return None
    try:
        modified_at = None if date is None else parse_http_date(date)
    except MalformedDate as error:
        raise _wrong(Failure.MODIFIED.value, date or "", "is no HTTP date") from error
    return replace(
        found or WriteCondition(),
        size=None if size is None else _bytes_of(size),
        modified_at=modified_at,
        deletes=True,
    )


def _bytes_of(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise _wrong(Failure.SIZE.value, text, "is no number of bytes")
    return int(text)


def _one_etag(header: str, value: str) -> str:
    if "," in value:
        raise _wrong(header, value, "on a write names one ETag")
    return unquote_etag(value)


def _wrong(header: str, value: str, what: str) -> S3Fault:
    return S3Fault(
        Code.INVALID_ARGUMENT,
        f"{header} {what}.",
        extra=(("ArgumentName", header), ("ArgumentValue", value[:200])),
    )


def _not_served(header: str, reason: str) -> S3Fault:
    return S3Fault(
        Code.NOT_IMPLEMENTED,
        f"{header} is not served as it is given here: {reason}.",
        extra=(("Header", header), ("additionalMessage", reason)),
    )


def _text(values: Mapping[bytes, bytes], name: str) -> str | None:
    value = values.get(name.encode())
    return None if value is None else value.decode("latin-1")


def _date(values: Mapping[bytes, bytes], name: str) -> float | None:
    value = values.get(name.encode())
    if value is None:
        return None
    try:
        return parse_http_date(value.decode("latin-1"))
    except MalformedDate:
        return None
