"""What a failing request to Azure Blob Storage means: one of the errors of controlplane.ports."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from typing import Final

from azure.core.exceptions import AzureError, HttpResponseError

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

_CORRUPT: Final = frozenset({"Md5Mismatch", "InvalidMd5", "Crc64Mismatch"})
_CONFLICT: Final = frozenset(
    {"BlobAlreadyExists", "ConditionNotMet", "TargetConditionNotMet", "UnauthorizedBlobOverwrite"}
)
_LOST_BLOCKS: Final = frozenset({"InvalidBlockList", "InvalidBlockId", "InvalidBlobOrBlock"})
"""Another writer of the same key committed meanwhile, which drops all other blocks: the put may be tried again."""
_BUSY: Final = frozenset({"ContainerBeingDeleted", "ContainerBeingCreated", "OperationTimedOut", "InternalError"})
_ADVICE: Final = {
    "AuthenticationFailed": "check account and secret_key, and this machine's clock",
    "AuthorizationFailure": "check account and secret_key, and the account's network rules",
    "AuthorizationPermissionMismatch": "check that the SAS token allows reading, writing, listing and deleting",
    "ContainerNotFound": "create the container or set create_bucket",
    "InvalidHeaderValue": "check that the service is recent enough",
}
DEFAULT_RETRY_AFTER_S: Final = 5.0


def error_of(error: AzureError, what: str) -> MillraceError:
    """`what` names the request. A missing container is Missing, and what answers without saying that it is Azure is
    Unavailable: neither proves anything about the blob (I5)."""
    if not isinstance(error, HttpResponseError) or error.response is None:
        if _first_line(error).startswith("MD5 mismatch"):
            return Corrupt(f"{what}: {_first_line(error)}")
        return Unavailable(f"{what}: {_first_line(error)}; check that the service is up and reachable")
    status = error.status_code or 0
    code = code_of(error)
    text = f"{what}: {_phrase(status)}{f', {code}' if code else ', not an answer of Azure'}"
    if code in _ADVICE:
        text = f"{text}; {_ADVICE[code]}"
    wait = _retry_after(error)
    known = _by_code(code, text, wait)
    if known is not None:
        return known
    if status == HTTPStatus.BAD_REQUEST and "md5" in _first_line(error).lower():
        return Corrupt(text)
    if status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        return Throttled(text, wait)
    if status >= 500 or status == HTTPStatus.REQUEST_TIMEOUT:
        return Unavailable(text, wait)
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return Forbidden(text)
    if not code or status < 400:
        return Unavailable(f"{text}; is something else than Azure answering at this address?", wait)
    return Rejected(text)


def _by_code(code: str, text: str, wait: float) -> MillraceError | None:
    if code == "BlobNotFound":
        return NotFound(text)
    if code == "ContainerNotFound":
        return Missing(text)
    if code in _CORRUPT:
        return Corrupt(text)
    if code in _CONFLICT:
        return Conflict(text)
    if code in _LOST_BLOCKS or code in _BUSY:
        return Unavailable(text, wait)
    if code == "AccountStorageQuotaExceeded" or code == "InsufficientStorage":
        return StorageFull(f"{text}; free space or raise the quota there", wait)
    return None


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Raises every failure of the library as an error of controlplane.ports."""
    try:
        yield
    except AzureError as error:
        raise error_of(error, what) from error
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        # The library trips over answers that are not Azure's.
        raise Unavailable(f"{what}: {error}; is something else than Azure answering at this address?") from error


def code_of(error: HttpResponseError) -> str:
    """Azure's error code; it comes as a header, so that HEAD has it too."""
    named = _headers(error).get("x-ms-error-code") or getattr(error, "error_code", None) or ""
    return str(getattr(named, "value", named))


def _phrase(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _retry_after(error: HttpResponseError) -> float:
    text = str(_headers(error).get("retry-after", "")).strip()
    return float(text) if text.isascii() and text.isdigit() and len(text) < 7 else DEFAULT_RETRY_AFTER_S


def _headers(error: HttpResponseError) -> Mapping[str, str]:
    found: Mapping[str, str] = getattr(error.response, "headers", None) or {}
    return found


def _first_line(error: AzureError) -> str:
    return (str(error.message or error).splitlines() or [type(error).__name__])[0][:300]
