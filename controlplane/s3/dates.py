"""The dates of S3 answers."""

from __future__ import annotations

import re
import time
from calendar import timegm
from email.utils import parsedate_tz
from functools import lru_cache

_ISO = re.compile(r"(\d{4})-?(\d\d)-?(\d\d)T(\d\d):?(\d\d):?(\d\d)(\.\d{1,9})?Z\Z")


class MalformedDate(ValueError):
    """Not a date in any of the forms that S3 servers use."""


def parse_timestamp(text: str) -> float:
    """Unix seconds of a date in XML: ISO 8601 in UTC, or Riak CS's form without dashes and colons."""
    match = _ISO.match(text)
    if not match:
        raise MalformedDate(f"not a date: {text[:60]!r}")
    year, month, day, hour, minute, second = (int(group) for group in match.groups()[:6])
    if not (1 <= month <= 12 and 1 <= day <= 31 and hour < 24 and minute < 60 and second < 61 and year >= 1):
        raise MalformedDate(f"not a date: {text[:60]!r}")
    try:
        whole = timegm((year, month, day, hour, minute, second))
    except ValueError as error:
        raise MalformedDate(f"not a date: {text[:60]!r}") from error
    return whole + float(match[7] or 0)


def parse_http_date(text: str) -> float:
    """Unix seconds of a Last-Modified or Date header."""
    try:
        parsed = parsedate_tz(text)
        if parsed is None:
            raise MalformedDate(f"not an HTTP date: {text[:60]!r}")
        return float(timegm(parsed[:6]) - (parsed[9] or 0))
    except (ValueError, IndexError, TypeError, OverflowError) as error:
        raise MalformedDate(f"not an HTTP date: {text[:60]!r}") from error


@lru_cache(maxsize=1024)
def _iso_second(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))


def iso_timestamp(seconds: float) -> str:
    """Unix seconds as S3 writes dates in XML: ISO 8601 in UTC with milliseconds."""
    milliseconds = round(seconds * 1000)
    return f"{_iso_second(milliseconds // 1000)}.{milliseconds % 1000:03d}Z"
