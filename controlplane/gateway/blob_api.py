"""The blob API: routes, rights, preconditions; bodies are moved by the services and the HTTP engine."""

from __future__ import annotations

import itertools
import logging
import os
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

from controlplane.gateway.auth import Authorizer, Right, Verdict
from controlplane.gateway.blob_verbs import BlobVerbs
from controlplane.gateway.peer_api import PeerApi
from controlplane.gateway.probe_api import ProbeApi
from controlplane.gateway.problem import problem, problem_for
from controlplane.gateway.representation import blob_fields
from controlplane.http import ClientFault, ClientGone, FileBody, Request, Response, field_lines
from controlplane.model.content import Content, Guid, MalformedDigest, Md5, parse_guid
from controlplane.model.tally import RequestTally
from controlplane.ports.errors import MillraceError
from controlplane.ports.hot_cache import Hit
from controlplane.ports.log_context import request_id as log_request_id
from controlplane.services.blobs import BlobWriter
from controlplane.services.reading import BlobReader

log = logging.getLogger(__name__)
access_log = logging.getLogger("controlplane.access")

_BLOB = re.compile(r"/blobs/([^/]*)\Z")
_SHA256 = re.compile(r"/blobs/sha256/([^/]*)\Z")
_PEERS = "/peers/"
_PROBE = re.compile(r"/probes/([A-Za-z0-9][A-Za-z0-9._-]{0,62})\Z")
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:/+=-]{1,128}\Z")
_HOT_PATH_LENGTH = len("/blobs/") + 32

_KINDS = {408: "too-slow", 411: "length-required", 413: "too-large", 414: "too-long", 431: "headers-too-large"}

_LINES_KEPT = 16_384
"""Blobs whose header lines are kept ready, at about 600 bytes each."""

_Lines: TypeAlias = tuple[Content, str, bytes]
"""The blob, its content type, and the header lines made of the two."""


@dataclass(frozen=True, slots=True)
class _Terms:
    """What the header fields of a request say to the hot path."""

    request_id: str
    """The client's own; empty: it gave none."""
    reads_plainly: bool
    """The whole blob is asked for, without conditions, by somebody who may read."""


class BlobApi:
    """The gateway's handler: a fresh blob of the hot cache is answered without a task, the rest by a coroutine."""

    def __init__(
        self,
        *,
        writer: BlobWriter,
        reader: BlobReader,
        probes: ProbeApi,
        peers: PeerApi,
        authorizer: Authorizer,
        max_blob_bytes: int,
        public: bool,
        tally: RequestTally,
        log_access: bool,
    ) -> None:
        self._verbs = BlobVerbs(writer, reader, max_blob_bytes=max_blob_bytes, public=public)
        self._reader = reader
        self._probes = probes
        self._peers = peers
        self._authorizer = authorizer
        self._public = public
        self._tally = tally
        self._log_access = log_access
        self._id_prefix = os.urandom(5).hex()
        self._id_count = itertools.count(1)
        self._lines: dict[Md5, _Lines] = {}

    # -- the engine calls these ---------------------------------------------------------------------------------

    def __call__(self, request: Request) -> Response | Awaitable[Response]:
        terms: _Terms = request.note or self._note_terms(request)
        request.id = terms.request_id or f"{self._id_prefix}-{next(self._id_count):x}"
        if terms.reads_plainly and request.method == "GET":
            path = request.path
            if len(path) == _HOT_PATH_LENGTH and path.startswith("/blobs/"):
                # Any other text of that length misses, and is judged on the slow path.
                hit = self._reader.hot(Guid(path[7:]))
                if hit is not None:
                    return self._answer_hot(request, hit)
        return self._guarded(request)

    def refuse(self, status: int, detail: str) -> Response:
        """The engine's own refusals, in the API's form."""
        return problem(status, _kind_of(status), detail, request_id=self._new_id())

    def _new_id(self) -> str:
        return f"{self._id_prefix}-{next(self._id_count):x}"

    def on_fault(self, request: Request, error: BaseException) -> Response:
        log.error("request %s: %s %s failed", request.id, request.method, request.path, exc_info=error)
        return problem(
            500, "internal", "an internal error; the log has it under this request id", request_id=request.id
        )

    def observe(self, request: Request, status: int, sent: int, seconds: float) -> None:
        self._tally.observe(request.method, status, sent, seconds)
        if request.content_length:
            self._tally.received_bytes += request.content_length
        if self._log_access or status >= 500:
            access_log.info(
                "%s %s",
                request.method,
                request.path,
                extra={
                    "request_id": request.id,
                    "status": status,
                    "bytes": sent,
                    "ms": round(seconds * 1000, 3),
                    "peer": request.peer,
                },
            )

    # -- the hot path -------------------------------------------------------------------------------------------

    def _note_terms(self, request: Request) -> _Terms:
        """Work out, once for all requests with these very fields, what the hot path asks of them."""
        given = request.header(b"x-request-id")
        plain = request.header(b"range") is None and request.header(b"if-none-match") is None
        allowed = self._authorizer.judge(request.header(b"authorization"), Right.READ) is Verdict.ALLOWED
        terms = _Terms(
            request_id=given.decode() if given is not None and _REQUEST_ID.match(given) else "",
            reads_plainly=plain and allowed,
        )
        request.note = terms
        return terms

    def _answer_hot(self, request: Request, hit: Hit) -> Response:
        kept = self._lines.get(hit.content.md5)
        if kept is None or kept[0] is not hit.content or kept[1] is not hit.content_type:
            try:
                kept = self._keep_lines(hit.content, hit.content_type)
            except ValueError:
                self._reader.release(hit)
                raise
        # A request id has no line end: it is our own, or _REQUEST_ID matched it.
        lines = b"%b\r\nx-request-id: %b" % (kept[2], request.id.encode())
        if hit.data is not None:
            self._reader.release(hit)
            return Response(200, lines, hit.data)
        return Response(200, lines, FileBody(hit.fd, 0, hit.content.size, lambda: self._reader.release(hit)))

    def _keep_lines(self, content: Content, content_type: str) -> _Lines:
        if len(self._lines) >= _LINES_KEPT:
            self._lines.clear()
        kept = content, content_type, field_lines(blob_fields(content, content_type, public=self._public))
        self._lines[content.md5] = kept
        return kept

    # -- routes -------------------------------------------------------------------------------------------------

    async def _guarded(self, request: Request) -> Response:
        log_request_id.set(request.id)
        try:
            return await self._route(request)
        except (MillraceError, MalformedDigest) as error:
            return problem_for(error, request.id)
        except ClientGone:
            raise
        except ClientFault as fault:
            return problem(fault.status, _kind_of(fault.status), str(fault), request_id=request.id)

    async def _route(self, request: Request) -> Response:
        path = request.path
        if path == "/blobs":
            return await self._dispatch(request, {"POST": (Right.WRITE, lambda: self._verbs.store(request, None))})
        if matched := _SHA256.match(path):
            digest = matched[1]
            return await self._dispatch(request, self._reading(request, lambda: self._verbs.by_sha256(digest)))
        if matched := _BLOB.match(path):
            name = matched[1]

            async def guid() -> Guid:
                return parse_guid(name)

            return await self._dispatch(
                request,
                {
                    **self._reading(request, guid),
                    "PUT": (Right.WRITE, lambda: self._verbs.store(request, parse_guid(name))),
                    "DELETE": (Right.DELETE, lambda: self._verbs.delete(request, parse_guid(name))),
                },
            )
        if path.startswith(_PEERS):
            name = path.removeprefix(_PEERS)
            return await self._dispatch(request, {"GET": (Right.PEER, lambda: self._peers.get(request, name))})
        if matched := _PROBE.match(path):
            node = matched[1]
            return await self._dispatch(
                request,
                {
                    "PUT": (Right.PROBE, lambda: self._probes.put(node, request)),
                    "GET": (Right.PROBE, lambda: self._probes.get(node)),
                    "DELETE": (Right.PROBE, lambda: self._probes.delete(node)),
                },
            )
        return problem(404, "no-such-path", "the blob API lives under /blobs", request_id=request.id)

    async def _dispatch(
        self, request: Request, methods: dict[str, tuple[Right, Callable[[], Awaitable[Response]]]]
    ) -> Response:
        found = methods.get(request.method)
        if found is None:
            allow = ((b"allow", ", ".join(sorted(methods)).encode()),)
            detail = f"{request.method} is not among {', '.join(sorted(methods))} here"
            return problem(405, "method-not-allowed", detail, request_id=request.id, headers=allow)
        right, work = found
        match self._authorizer.judge(request.header(b"authorization"), right):
            case Verdict.ALLOWED:
                return await work()
            case Verdict.FORBIDDEN:
                detail = f"the token lacks the scope {right.value}"
                return problem(403, "forbidden", detail, request_id=request.id)
            case Verdict.UNKNOWN:
                headers = ((b"www-authenticate", b'Bearer realm="millrace"'),)
                detail = "a bearer token is needed: Authorization: Bearer <token>"
                return problem(401, "unauthorized", detail, request_id=request.id, headers=headers)

    def _reading(
        self, request: Request, find: Callable[[], Awaitable[Guid]]
    ) -> dict[str, tuple[Right, Callable[[], Awaitable[Response]]]]:
        return {
            "GET": (Right.READ, lambda: self._verbs.get(request, find)),
            "HEAD": (Right.READ, lambda: self._verbs.head(request, find)),
        }


def _kind_of(status: int) -> str:
    """The stable name of a refusal that its status alone tells."""
    return _KINDS.get(status, "bad-request")
