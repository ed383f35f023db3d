"""Answers in S3's terms: error documents, XML, headers of objects."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Final

from controlplane.http import Request, Response
from controlplane.ports.errors import (
    Conflict,
    Corrupt,
    Full,
    MillraceError,
    NotFound,
    Rejected,
    StorageFull,
    Unavailable,
)
from controlplane.s3.error_xml import NO_KEY, render_fault
from controlplane.s3.fault import Code, S3Fault
from controlplane.s3.own_metadata import OWN_METADATA

log = logging.getLogger(__name__)

Fields = list[tuple[bytes, bytes]]

_XML: Final = (b"content-type", b"application/xml")
_SERVER: Final = (b"server", b"Millrace")
_ACCEPT_RANGES: Final = (b"accept-ranges", b"bytes")
_PASSED: Final = {
    name: name.encode()
    for name in (
        "content-type", "etag", "last-modified", "accept-ranges", "content-range", "content-encoding",
        "content-disposition", "cache-control", "expires",
    )
}  # fmt: skip
_LINES: Final = {name: f"\r\n{name}: " for name in _PASSED if name not in ("accept-ranges", "content-range")}
_PERHAPS_SHOWN: Final = ("x-amz-meta-", "content-range", "accept-ranges")
_FIRST_LINES: Final = "\r\nserver: Millrace\r\nx-amz-request-id: "
_ACCEPT_RANGES_LINE: Final = "\r\naccept-ranges: bytes"
_OWN_CHECKSUM: Final = OWN_METADATA + "checksum-"


def fields(request: Request, *more: tuple[bytes, bytes]) -> Fields:
    """What every answer carries."""
    return [_SERVER, (b"x-amz-request-id", request.id.encode()), *more]


def xml(request: Request, document: bytes, status: int = 200, more: tuple[tuple[bytes, bytes], ...] = ()) -> Response:
    return Response(status, fields(request, _XML, *more), document)


def empty(request: Request, status: int = 200, *more: tuple[bytes, bytes]) -> Response:
    return Response(status, fields(request, *more), b"" if status == 200 else None)


def fault_answer(
    request: Request, fault: S3Fault, *, access_key: str = NO_KEY, bucket: str = "", key: str = ""
) -> Response:
    """The error document; none in answer to HEAD, and none under 304."""
    if fault.status == 304:
        return Response(304, fields(request, *fault.headers))
    document = render_fault(fault, request.path, request.id, access_key, bucket=bucket, key=key)
    headers = fields(request, _XML, *fault.headers)
    return Response(fault.status, headers, None if request.method == "HEAD" else document)


def fault_of(error: MillraceError) -> S3Fault:
    """What an error from below means for the client. Outages are 503, never "not found" and never "denied" (I5)."""
    match error:
        case Full() | StorageFull():
            return _later(Code.SLOW_DOWN, error.retry_after, "The store takes no writes now; try again later.")
        case Unavailable():
            return _later(Code.SERVICE_UNAVAILABLE, error.retry_after)
        case Corrupt():
            return S3Fault(Code.INTERNAL_ERROR, "The store gave bytes that do not match; nothing of them is served.")
        case NotFound():
            return S3Fault(Code.NO_SUCH_KEY)
        case Conflict():
            return S3Fault(Code.CONDITIONAL_REQUEST_CONFLICT)
        case Rejected():
            return _later(Code.SERVICE_UNAVAILABLE, 5.0)
        case _:
            return S3Fault(Code.INTERNAL_ERROR)


def _later(code: Code, retry_after: float, message: str = "") -> S3Fault:
    return S3Fault(code, message, headers=((b"retry-after", b"%d" % max(1, math.ceil(retry_after))),))


def object_fields(request: Request, found: Mapping[str, str]) -> Fields:
    """The headers of a stored object for its reader."""
    headers = fields(request)
    names = _PASSED
    for name, value in found.items():
        passed = names.get(name)
        if passed is not None:
            headers.append((passed, _bytes(value)))
        elif name.startswith("x-amz-meta-"):
            if not name.startswith(OWN_METADATA):
                headers.append((name.encode(), _bytes(value)))
            else:
                if name.removeprefix(OWN_METADATA) == "content-language":
                    headers.append((b"content-language", _bytes(value)))
    if "accept-ranges" not in found:
        headers.append(_ACCEPT_RANGES)
    return headers


def plain_lines(request: Request, found: Mapping[str, str]) -> bytes | None:
    """The same fields as they are written, for an object with no more than the usual ones; None: it has more."""
    lines = [_FIRST_LINES, request.id, _ACCEPT_RANGES_LINE]
    values = []
    prefixes = _LINES
    for name, value in found.items():
        prefix = prefixes.get(name)
        if prefix is None:
            if name.startswith(_PERHAPS_SHOWN) and not (
                name.startswith(_OWN_CHECKSUM) or (name == "accept-ranges" and value == "bytes")
            ):
                return None
        else:
            lines += (prefix, value)
            values.append(value)
    shown = "".join(values)
    return "".join(lines).encode() if shown.isascii() and shown.isprintable() else None


def _bytes(value: str) -> bytes:
    return value.encode("utf-8", "surrogateescape")
