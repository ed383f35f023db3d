"""Conditional headers: of reads in the precedence of RFC 9110, section 13.2.2; of writes as S3 has them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
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
    """The condition of a PUT, a copy or a completion: one of the two is set."""

    absent: bool = False
    """If-None-Match: *"""
    etag: str | None = None
    """If-Match, without quotes; "*": any."""


def write_condition(fields: Fields) -> WriteCondition | None:
    """The condition that the headers of a write set, None when they set none.

    Raises S3Fault: NotImplemented for what S3 does not evaluate on writes (If-None-Match with anything but *, both at
    once, dates), InvalidArgument for a list of ETags.
    """
    values = joined(fields)
    none_match, match = _text(values, "if-none-match"), _text(values, "if-match")
    for header in ("if-modified-since", "if-unmodified-since"):
        if header.encode() in values:
            raise _not_served(header, "dates are no conditions of a write")
    if none_match is not None:
        if match is not None:
            raise _not_served("If-Match", "it cannot be combined with If-None-Match")
        if none_match.strip() != "*":
            raise _not_served("If-None-Match", "on a write it can be * only")
        return WriteCondition(absent=True)
    if match is None:
        return None
    if "," in match:
        raise S3Fault(
            Code.INVALID_ARGUMENT,
            "If-Match on a write names one ETag.",
            extra=(("ArgumentName", "If-Match"), ("ArgumentValue", match)),
        )
    return WriteCondition(etag=unquote_etag(match))


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
