"""What an error answer of Riak CS means for the client: a fault of S3, with the right code."""

from __future__ import annotations

from typing import Final

from controlplane.ports.errors import Unavailable
from controlplane.ports.upstream import Reply
from controlplane.s3.error_xml import parse_error
from controlplane.s3.fault import Code, S3Fault

MAX_ERROR_BYTES: Final = 256 * 1024
_CODES: Final = {code.text: code for code in Code}
_BY_STATUS: Final = {
    400: Code.INVALID_REQUEST,
    403: Code.ACCESS_DENIED,
    405: Code.METHOD_NOT_ALLOWED,
    406: Code.INVALID_REQUEST,
    409: Code.OPERATION_ABORTED,
    411: Code.MISSING_CONTENT_LENGTH,
    412: Code.PRECONDITION_FAILED,
    413: Code.ENTITY_TOO_LARGE,
    416: Code.INVALID_RANGE,
    477: Code.MALFORMED_XML,
    501: Code.NOT_IMPLEMENTED,
}
_OURS: Final = frozenset(
    {
        Code.SIGNATURE_DOES_NOT_MATCH, Code.REQUEST_TIME_TOO_SKEWED, Code.MISSING_SECURITY_HEADER,
        Code.AUTHORIZATION_HEADER_MALFORMED,
    }
)  # fmt: skip
"""About the signature that the gateway made: not the client's business. What the client can know is AccessDenied."""


async def refusal(reply: Reply, *, key: bool) -> S3Fault:
    """The fault that an answer of 300 and above means. `key`: the request was about an object. Closes the answer.

    Raises Unavailable for 5xx: an outage is never reported as anything else (I5). Neither is "no such access key": the
    gateway knows the caller from Riak CS itself, which also says so when it cannot read the user (recorded with one of
    three Riak nodes down, cli/node-down.txt). Of a user that is gone the next look-up of the caller tells.
    """
    try:
        body = await reply.read_all(MAX_ERROR_BYTES)
    finally:
        reply.close()
    status = reply.status
    document = parse_error(body) if body else None
    if status >= 500 and status != 501:
        said = f": {document.code}" if document is not None else ""
        raise Unavailable(f"Riak CS answered {status}{said}", retry_after=2.0)
    if document is not None:
        code = _CODES.get(document.code)
        if code is Code.INVALID_ACCESS_KEY_ID:
            raise Unavailable("Riak CS does not know its own user now: is one of its Riak nodes down?", retry_after=2.0)
        if code is not None and code not in _OURS:
            return S3Fault(code)
    if status == 404:
        return S3Fault(Code.NO_SUCH_KEY if key else Code.NO_SUCH_BUCKET)
    return S3Fault(_BY_STATUS.get(status, Code.ACCESS_DENIED if status < 500 else Code.INTERNAL_ERROR))
