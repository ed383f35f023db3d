"""The conditional headers of GET, HEAD and copies, in the precedence of RFC 9110, section 13.2.2."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from controlplane.s3.claim import Fields


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
        """`etag` without quotes; `modified_at` in Unix seconds."""
        raise NotImplementedError


def read_conditions(fields: Fields, prefix: str = "") -> ReadConditions:
    """`prefix` is "x-amz-copy-source-" for the source of a copy (where NOT_MODIFIED means 412)."""
    raise NotImplementedError


@dataclass(frozen=True, slots=True)
class WriteCondition:
    """The condition of a PUT, a copy or a completion: at most one is there."""

    absent: bool = False
    """If-None-Match: *"""
    etag: str | None = None
    """If-Match, without quotes; "*": any."""


def write_condition(fields: Fields) -> WriteCondition | None:
    """Raises S3Fault NotImplemented: If-None-Match with anything but *, both at once, several ETags."""
    raise NotImplementedError
