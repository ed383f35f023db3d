"""/riak-cs/usage: access and storage of a user; the stand-in archives nothing, so the lists are empty."""

import datetime as dt
import hashlib
import json
from typing import Any

from tests.hosts.standin.cs.answers import CORS, Crash, S3Error
from tests.hosts.standin.cs.state import CsState, parameters
from tests.hosts.standin.cs.users import User
from tests.hosts.standin.web.messages import Request, Response, page

_NOT_ASKED = "not_requested"


def _time(text: str) -> dt.datetime | None:
    try:
        return dt.datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=dt.UTC)
    except ValueError:
        return None


def _refused(status: int, text: str) -> Response:
    body = json.dumps({"Error": {"Message": text}}, separators=(",", ":")).encode()
    reason = "Object Not Found" if status == 404 else None
    return Response(status, {"content-type": "application/json"} | CORS, body, reason)


def usage(state: CsState, request: Request, caller: User | None, rest: list[str]) -> Response:
    if not rest:
        raise Crash('{case_clause,{error,<<"Key cannot be zero-length">>}}')
    params = parameters(request.query)
    options = rest[1] if len(rest) > 1 else "".join(name for name in "abjx" if name in params)
    start, end = (rest[2] if len(rest) > 2 else params.get("s")), (rest[3] if len(rest) > 3 else params.get("e"))
    if caller is None or not (state.is_admin(caller) or caller.key_id == rest[0]):
        raise S3Error("AccessDenied") if caller is None else _denied(request)
    accept = request.header("accept") or "*/*"
    if ("x" in options and "application/json" in accept) or ("j" in options and "application/xml" in accept):
        response = page(406)
        response.headers |= CORS
        return response
    if state.users.get(rest[0]) is None:
        return _refused(404, "Unknown user")
    problem = _span(state, start, end)
    if problem is not None:
        return problem
    access: Any = {"Nodes": [], "Errors": []} if "a" in options else _NOT_ASKED
    storage: Any = {"Samples": [], "Errors": []} if "b" in options else _NOT_ASKED
    if "application/xml" in accept or "x" in options:
        return _as_xml(access, storage)
    body = json.dumps({"Access": access, "Storage": storage}, separators=(",", ":")).encode()
    return _found("application/json", body)


def _denied(request: Request) -> S3Error:
    request.context["key_id"] = None
    return S3Error("AccessDenied")


def _span(state: CsState, start: str | None, end: str | None) -> Response | None:
    first, last = _time(start) if start else None, _time(end) if end else None
    if start and first is None:
        return _refused(400, "Invalid start-time format")
    if end and last is None:
        return _refused(400, "Invalid end-time format")
    hours = int(state.values["stats.usage_request_limit"])
    if first and last and last - first > dt.timedelta(hours=hours):
        return _refused(400, "Too much time requested")
    return None


def _as_xml(access: Any, storage: Any) -> Response:
    inner = "<Access>not_requested</Access>" if access == _NOT_ASKED else "<Access><Nodes/><Errors/></Access>"
    inner += "<Storage>not_requested</Storage>" if storage == _NOT_ASKED else "<Storage><Samples/><Errors/></Storage>"
    body = f'<?xml version="1.0" encoding="UTF-8"?><Usage>{inner}</Usage>'.encode()
    return _found("application/xml", body)


def _found(kind: str, body: bytes) -> Response:
    return Response(200, {"Content-Type": kind, "ETag": f'"{hashlib.md5(body).hexdigest()}"'} | CORS, body)
