"""What a failing request to Google Cloud Storage means: one of the errors of controlplane.ports."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, Final

import requests
import urllib3.exceptions
from google.api_core.exceptions import GoogleAPICallError, RetryError
from google.auth.exceptions import GoogleAuthError, TransportError
from google.cloud.storage.exceptions import DataCorruption, InvalidResponse

from controlplane.ports.errors import (
    Conflict,
    Corrupt,
    Forbidden,
    MillraceError,
    NotFound,
    Rejected,
    StorageFull,
    Throttled,
    Unavailable,
)

DEFAULT_RETRY_AFTER_S: Final = 5.0
_RETRYABLE: Final = frozenset({408, 429, 500, 502, 503, 504})
_FAILURES: Final = (
    GoogleAPICallError,
    RetryError,
    GoogleAuthError,
    InvalidResponse,
    DataCorruption,
    requests.RequestException,
    urllib3.exceptions.HTTPError,
    OSError,
)
_NONSENSE: Final = (ValueError, TypeError, AttributeError, KeyError)
"""What the library trips over when an answer is not Google's."""


class Attempts:
    """A predicate for the library's retries, which it bounds by time only: at most `most` tries in all."""

    def __init__(self, most: int) -> None:
        self._left = most

    def __call__(self, error: BaseException) -> bool:
        self._left -= 1
        if self._left < 1:
            return False
        if isinstance(error, GoogleAPICallError | InvalidResponse):
            return _status(error) in _RETRYABLE
        return isinstance(error, requests.ConnectionError | requests.Timeout | urllib3.exceptions.HTTPError)


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Raises every failure of the library as an error of controlplane.ports; `what` names the request.

    A NotFound may be about the object or about the bucket: see GcsStore."""
    try:
        yield
    except _FAILURES as error:
        raise error_of(error, what) from error
    except _NONSENSE as error:
        raise Unavailable(f"{what}: {_short(error)}; is something else answering at this address?") from error


def error_of(error: Exception, what: str) -> MillraceError:
    if isinstance(error, RetryError) and isinstance(error.cause, Exception):
        return error_of(error.cause, what)
    if isinstance(error, DataCorruption):
        return Corrupt(f"{what}: {_short(error)}")
    if isinstance(error, GoogleAuthError) and not isinstance(error, TransportError) and not error.retryable:
        return Forbidden(f"{what}: no access with these credentials ({_short(error)}); check the file of credentials")
    if isinstance(error, GoogleAPICallError | InvalidResponse):
        return _by_status(error, what)
    return Unavailable(f"{what}: {_short(error)}; check that the service is up and reachable")


def _by_status(error: GoogleAPICallError | InvalidResponse, what: str) -> MillraceError:
    status, message = _status(error), _message(error)
    own = message is not None
    text = f"{what}: {_phrase(status)}{f', {message}' if own else ', not an answer of Google Cloud Storage'}"
    wait = _retry_after(error)
    if status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        return Throttled(text, wait)
    if status == HTTPStatus.INSUFFICIENT_STORAGE:
        return StorageFull(f"{text}; free space or raise the quota there", wait)
    if status >= 500 or status in _RETRYABLE or status < 400:
        return Unavailable(text, wait)
    if not own:
        return Unavailable(f"{text}; is something else answering at this address?", wait)
    if status == HTTPStatus.NOT_FOUND:
        return NotFound(text)
    if status == HTTPStatus.PRECONDITION_FAILED:
        return Conflict(text)
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return Forbidden(f"{text}; check credentials, and that they may use this bucket")
    if status == HTTPStatus.BAD_REQUEST and any(word in (message or "") for word in ("MD5", "CRC32C", "checksum")):
        return Corrupt(text)
    return Rejected(text)


def _status(error: GoogleAPICallError | InvalidResponse) -> int:
    code = error.response.status_code if isinstance(error, InvalidResponse) else error.code
    return int(code or 0)


def _answer(error: GoogleAPICallError | InvalidResponse) -> Any:
    return getattr(error, "response", None)


def _message(error: GoogleAPICallError | InvalidResponse) -> str | None:
    """What the service says of itself; None: the body is no error document of it. An upload is answered in plain words
    where its precondition failed."""
    answer = _answer(error)
    if answer is None:
        return None
    try:
        return str(answer.json()["error"]["message"])[:300]
    except (ValueError, KeyError, TypeError):
        named = any(name.lower().startswith("x-guploader") for name in answer.headers)
        return str(answer.text)[:300] if named else None


def _phrase(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _retry_after(error: GoogleAPICallError | InvalidResponse) -> float:
    answer = _answer(error)
    text = str(answer.headers.get("retry-after", "")).strip() if answer is not None else ""
    return float(text) if text.isascii() and text.isdigit() and len(text) < 7 else DEFAULT_RETRY_AFTER_S


def _short(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
