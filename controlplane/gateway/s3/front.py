"""The S3 front's handler: a request in, an answer in S3's terms out, whatever happens on the way."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Final

from controlplane.gateway.s3.answers import fault_answer, fault_of
from controlplane.gateway.s3.authenticate import Authenticator
from controlplane.gateway.s3.authorise import Authoriser
from controlplane.gateway.s3.call import Call, require_served
from controlplane.gateway.s3.client_address import Proxies
from controlplane.gateway.s3.document_verbs import CrossOrigin
from controlplane.http import BodyTooLarge, ClientFault, ClientGone, ClientTooSlow, Request, Response
from controlplane.model.tally import RequestTally
from controlplane.ports.errors import MillraceError
from controlplane.ports.log_context import request_id as log_request_id
from controlplane.s3.addressing import decode_query, locate
from controlplane.s3.error_xml import NO_KEY
from controlplane.s3.fault import Code, S3Fault
from controlplane.s3.operation import Operation
from controlplane.s3.operation_table import operation_of
from controlplane.s3.xml import escape

log = logging.getLogger(__name__)

Handler = Callable[[Call], Awaitable[Response]]

_REFUSALS: Final = {
    400: Code.INVALID_REQUEST,
    405: Code.METHOD_NOT_ALLOWED,
    408: Code.REQUEST_TIMEOUT,
    413: Code.ENTITY_TOO_LARGE,
    414: Code.INVALID_URI,
    417: Code.INVALID_REQUEST,
    431: Code.REQUEST_HEADER_SECTION_TOO_LARGE,
    501: Code.NOT_IMPLEMENTED,
    505: Code.INVALID_REQUEST,
}


class S3Front:
    """`handlers` has every operation that is served. `root_hosts`: lower-case, without ports."""

    def __init__(
        self,
        handlers: Mapping[Operation, Handler],
        *,
        authenticator: Authenticator,
        authoriser: Authoriser,
        origins: CrossOrigin,
        root_hosts: Collection[str],
        proxies: Proxies,
        tally: RequestTally,
        log_access: bool,
    ) -> None:
        self._handlers = handlers
        self._authenticator = authenticator
        self._authoriser = authoriser
        self._origins = origins
        self._root_hosts = tuple(root_hosts)
        self._proxies = proxies
        self._tally = tally
        self._log_access = log_access
        self._prefix = secrets.token_hex(5).upper()
        self._count = 0

    def __call__(self, request: Request) -> Awaitable[Response]:
        self._count += 1
        request.id = f"{self._prefix}{self._count:010X}"
        return self._answer(request)

    def refuse(self, status: int, detail: str) -> Response:
        """The answer to what is no acceptable HTTP. There is no request to name."""
        code = _REFUSALS.get(status, Code.INVALID_REQUEST)
        inner = f"<Code>{code.text}</Code><Message>{escape(detail)}</Message>"
        document = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{inner}</Error>'
        return Response(status, [(b"content-type", b"application/xml")], document.encode())

    def on_fault(self, request: Request, error: BaseException) -> Response:
        log.error("the S3 front failed on %s", request, exc_info=error, extra={"request_id": request.id})
        return fault_answer(request, S3Fault(Code.INTERNAL_ERROR))

    def observe(self, request: Request, status: int, sent: int, seconds: float) -> None:
        operation = request.context.operation.value if isinstance(request.context, Call) else "none"
        self._tally.observe(operation, status, sent, seconds)
        self._tally.received_bytes += request.content_length or 0
        if self._log_access or status >= 500:
            log.info(
                "s3 %s %s",
                request.method,
                request.path,
                extra={
                    "request_id": request.id,
                    "operation": operation,
                    "status": status,
                    "bytes": sent,
                    "ms": round(seconds * 1000, 3),
                    "peer": request.peer,
                },
            )
        request.context = None  # the two know each other: let them go now, not when the collector comes

    async def _answer(self, request: Request) -> Response:
        log_request_id.set(request.id)
        try:
            response = await self._begun(request)
        except S3Fault as fault:
            response = _refusal(request, fault)
        except MillraceError as error:
            log.warning("%s %s: %s", request.method, request.path, error)
            response = _refusal(request, fault_of(error))
        except ClientGone:
            raise
        except ClientFault as fault:
            response = _refusal(request, S3Fault(_client_code(fault), str(fault)))
        if request.header(b"origin") is not None and isinstance(request.context, Call):
            try:
                return await self._origins.added(request.context, response)
            except (MillraceError, S3Fault) as error:
                # Without the headers a browser keeps the answer from its page: the safe side.
                log.warning("CORS of s3://%s cannot be read: %s", request.context.bucket, error)
        return response

    def _begun(self, request: Request) -> Awaitable[Response]:
        """What is left to be awaited; of most requests that is the handler. Raises S3Fault."""
        if request.target == b"*":
            raise S3Fault(Code.METHOD_NOT_ALLOWED)
        address = locate((request.header(b"host") or b"").decode("latin-1"), request.path, self._root_hosts)
        query = decode_query(request.query)
        copies = request.header(b"x-amz-copy-source") is not None or (
            bool(query) and any(name.lower() == "x-amz-copy-source" for name, _ in query)
        )
        operation = operation_of(request.method, address.level, query, copies=copies)
        require_served(address.bucket, address.key)
        call = Call(request, operation, address, query, self._proxies)
        request.context = call
        if operation is Operation.PREFLIGHT:
            return self._handlers[operation](call)
        proof = self._authenticator.prove(call)
        admission = self._admission(call) if proof is None else None
        if proof is None and admission is None:
            return self._handled(call)
        return self._looked_up(call, proof, admission)

    async def _looked_up(
        self, call: Call, proof: Awaitable[None] | None, admission: Awaitable[None] | None
    ) -> Response:
        """The caller or the bucket is not known at once."""
        if proof is not None:
            await proof
            admission = self._admission(call)
        if admission is not None:
            await admission
        return await self._handled(call)

    def _admission(self, call: Call) -> Awaitable[None] | None:
        # A form's credentials are in the form.
        return None if call.operation is Operation.POST_OBJECT else self._authoriser.admit(call)

    def _handled(self, call: Call) -> Awaitable[Response]:
        handler = self._handlers.get(call.operation)
        if handler is None:
            raise S3Fault(Code.NOT_IMPLEMENTED, f"{call.operation.value} is not served by this store.")
        return handler(call)


def _refusal(request: Request, fault: S3Fault) -> Response:
    """The answer, with what is known of the request by now."""
    call = request.context
    if not isinstance(call, Call):
        return fault_answer(request, fault)
    access_key = call.account.keys.access_key if call.account is not None else NO_KEY
    return fault_answer(request, fault, access_key=access_key, bucket=call.bucket, key=call.key)


def _client_code(fault: ClientFault) -> Code:
    if isinstance(fault, ClientTooSlow):
        return Code.REQUEST_TIMEOUT
    return Code.ENTITY_TOO_LARGE if isinstance(fault, BodyTooLarge) else Code.INCOMPLETE_BODY
