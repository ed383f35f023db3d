"""What a failing S3 answer means: one of the errors of controlplane.ports, and whether it may be tried again."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from controlplane.ports.errors import (
    Conflict,
    Corrupt,
    Forbidden,
    MillraceError,
    Missing,
    NotFound,
    Rejected,
    StorageFull,
    Throttled,
    Unavailable,
)
from controlplane.s3.error_xml import ErrorDocument, parse_error

DEFAULT_RETRY_AFTER_S: Final = 5.0

_RETRYABLE_STATUS: Final = frozenset({408, 429, 500, 502, 503, 504})
_RETRYABLE_CODES: Final = frozenset(
    {
        "InternalError", "OperationAborted", "RequestTimeout", "ServiceUnavailable", "SlowDown",
        "Throttling", "ThrottlingException", "TooManyRequests", "RequestLimitExceeded",
    }
)  # fmt: skip
_PERHAPS_PASSING_CODES: Final = frozenset({"InvalidAccessKeyId"})
"""Riak CS says so of its users for moments after a Riak node went down (cli/node-down.txt). What lasts is true."""
_THROTTLED_CODES: Final = frozenset(
    {"SlowDown", "Throttling", "ThrottlingException", "TooManyRequests", "RequestLimitExceeded"}
)
_FORBIDDEN_STATUS: Final = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
_FULL_CODES: Final = frozenset(
    {"InsufficientStorage", "QuotaExceeded", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded", "StorageFull"}
)
_CORRUPT_CODES: Final = frozenset(
    {"BadDigest", "InvalidDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch", "IncompleteBody"}
)
_LOST_UPLOAD_CODES: Final = frozenset({"NoSuchUpload", "InvalidPart"})
"""The server forgot a multipart upload or a part of it: the whole put may be tried again."""
_ADVICE: Final = {
    "AccessDenied": "check that this key may use this bucket",
    "InvalidAccessKeyId": "check access_key",
    "SignatureDoesNotMatch": "check secret_key, region and signature",
    "AuthorizationHeaderMalformed": "check region",
    "RequestTimeTooSkewed": "this machine's clock is wrong: check its time synchronisation",
    "NoSuchBucket": "create the bucket or set create_bucket",
    "PermanentRedirect": "the bucket is in another region: check region and endpoints",
    "TemporaryRedirect": "the bucket is in another region: check region and endpoints",
}


@dataclass(frozen=True, slots=True)
class Failure:
    """An answer that is not a success."""

    status: int
    document: ErrorDocument | None
    """None when the body was no S3 error: then something else than S3 may have answered."""
    retry_after_s: float | None
    has_body: bool = True
    """False for HEAD, whose answer cannot carry a document."""
    retried: bool = False
    """An earlier attempt may have had its effect without an answer."""

    @property
    def code(self) -> str:
        return self.document.code if self.document else ""

    @property
    def retryable(self) -> bool:
        return self.is_outage or self.code in _PERHAPS_PASSING_CODES

    @property
    def is_outage(self) -> bool:
        return self.code not in _FULL_CODES and (self.status in _RETRYABLE_STATUS or self.code in _RETRYABLE_CODES)

    def __str__(self) -> str:
        try:
            phrase = f"{self.status} {HTTPStatus(self.status).phrase}"
        except ValueError:
            phrase = str(self.status)
        if self.document is None:
            return phrase if not self.has_body else f"{phrase}, not an answer of S3"
        message = f": {self.document.message[:300]}" if self.document.message else ""
        return f"{phrase}, {self.document.code}{message}"


def failure_of(status: int, headers: dict[str, str], body: bytes, *, has_body: bool, retried: bool) -> Failure:
    return Failure(status, parse_error(body) if body else None, retry_after(headers), has_body, retried)


def retry_after(headers: dict[str, str]) -> float | None:
    """Seconds of a Retry-After header; its form as a date is not used by S3 servers, and ignored."""
    text = headers.get("retry-after", "").strip()
    return float(text) if text.isascii() and text.isdigit() and len(text) < 7 else None


def error_of(failure: Failure, what: str) -> MillraceError:
    """`what` names the request: "GET s3://bucket/key at http://host". The message ends with what to do.

    A missing bucket is Rejected: it proves nothing about the object (I5)."""
    text = f"{what}: {failure}"
    advice = _ADVICE.get(failure.code)
    if advice:
        text = f"{text}; {advice}"
    code, status = failure.code, failure.status
    wait = failure.retry_after_s if failure.retry_after_s is not None else DEFAULT_RETRY_AFTER_S
    if status == HTTPStatus.INSUFFICIENT_STORAGE or code in _FULL_CODES:
        return StorageFull(f"{text}; free space or raise the quota there", wait)
    if code == "NotImplemented":
        return Rejected(text)
    if status == HTTPStatus.TOO_MANY_REQUESTS or code in _THROTTLED_CODES:
        return Throttled(text, wait)
    if failure.is_outage or status >= 500 or code in _LOST_UPLOAD_CODES:
        return Unavailable(text, wait)
    if code in _CORRUPT_CODES:
        return Corrupt(text)
    if code == "NoSuchKey":
        return NotFound(text)
    if status == HTTPStatus.PRECONDITION_FAILED or (status == HTTPStatus.CONFLICT and code):
        return Conflict(text)
    if failure.document is None and (failure.has_body or status != HTTPStatus.FORBIDDEN):
        return Unavailable(f"{text}; is something else than S3 answering at this address?", wait)
    if code == "NoSuchBucket":
        return Missing(text)
    if status in _FORBIDDEN_STATUS:
        return Forbidden(text)
    return Rejected(text)
