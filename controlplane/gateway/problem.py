"""Errors as clients see them: problem details (RFC 9457), one table from the error tree to statuses."""

from __future__ import annotations

import json
import math
from http import HTTPStatus

from controlplane.http import Response
from controlplane.model.content import MalformedDigest
from controlplane.ports.errors import Conflict, Corrupt, Full, MillraceError, NotFound, StorageFull, Unavailable
from controlplane.services.blobs import Collision, WrongGuid

_CONTENT_TYPE = (b"content-type", b"application/problem+json")

# From the most special to the most general: the first match counts.
_KINDS: tuple[tuple[type[Exception], int, str], ...] = (
    (MalformedDigest, 400, "malformed-digest"),
    (WrongGuid, 422, "wrong-guid"),
    (Collision, 409, "collision"),
    (Conflict, 409, "conflict"),
    (NotFound, 404, "not-found"),
    (Full, 503, "journal-full"),
    (StorageFull, 507, "storage-full"),
    (Unavailable, 503, "unavailable"),
    (Corrupt, 502, "corrupt"),
    (MillraceError, 502, "store-refused"),
)


def problem(
    status: int, kind: str, detail: str, *, request_id: str = "", headers: tuple[tuple[bytes, bytes], ...] = ()
) -> Response:
    """A problem+json answer; `kind` is the stable name that programs may switch on."""
    body = {
        "type": f"urn:millrace:problem:{kind}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }
    if request_id:
        body["instance"] = f"urn:millrace:request:{request_id}"
        headers = (*headers, (b"x-request-id", request_id.encode()))
    data = json.dumps(body, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
    return Response(status, [_CONTENT_TYPE, (b"cache-control", b"no-store"), *headers], data)


def problem_for(error: Exception, request_id: str) -> Response:
    """The answer for an expected error; anything else is 500 without a word about the inside."""
    for kind_of_error, status, kind in _KINDS:
        if isinstance(error, kind_of_error):
            headers: tuple[tuple[bytes, bytes], ...] = ()
            if isinstance(error, Unavailable) and status == 503:
                headers = ((b"retry-after", str(max(1, math.ceil(error.retry_after))).encode()),)
            return problem(status, kind, str(error), request_id=request_id, headers=headers)
    return problem(500, "internal", "an internal error; the log has it under this request id", request_id=request_id)
