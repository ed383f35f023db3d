"""The admin API: ping, users, statistics, usage; SigV2 with a Date only."""

import hashlib
import json
import os
import re
import time
import uuid
import xml.etree.ElementTree as ET
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from tests.hosts.standin.cs import users as records
from tests.hosts.standin.cs.answers import CORS, HEAD, Crash, S3Error
from tests.hosts.standin.cs.auth import identify
from tests.hosts.standin.cs.kv_client import KvDown
from tests.hosts.standin.cs.stanchion import packed
from tests.hosts.standin.cs.state import CsState, parameters
from tests.hosts.standin.cs.usage import usage
from tests.hosts.standin.cs.users import User
from tests.hosts.standin.web.messages import Request, Response, not_found, page

_NEGOTIATED = ("user", "users", "stats", "usage")
_JSON, _XML = "application/json", "application/xml"
Handler = Callable[[Request, User | None, list[str]], Response]


def _etagged(kind: str, body: bytes) -> Response:
    return Response(200, {"Content-Type": kind, "ETag": f'"{hashlib.md5(body).hexdigest()}"'} | CORS, body)


def _dumps(content: Any) -> bytes:
    return json.dumps(content, ensure_ascii=False).replace('", "', '","').replace("}, {", "},{").encode()


def user_json(user: User) -> str:
    """As Riak CS prints it: a space behind colons, none behind commas."""
    return json.dumps(user.to_json(), ensure_ascii=False, separators=(",", ": "))


def _user_xml(user: User) -> str:
    return HEAD + user.to_xml()


class AdminApi:
    def __init__(self, state: CsState) -> None:
        self._state = state
        self._started = time.monotonic()

    def __call__(self, request: Request) -> Response:
        words = [unquote(word) for word in request.path.split("/")[1:]]
        if words[0] != "riak-cs" or len(words) < 2:
            return not_found()
        if words[1] == "ping":
            return self._ping(request)
        handlers = {
            "user": self._user,
            "users": self._users,
            "stats": self._stats,
            "info": self._info,
            "usage": self._usage,
            "temp-sessions": self._sessions,
        }
        if words[1] not in handlers:
            return not_found()
        response = self._answer(request, words, handlers[words[1]])
        negotiated = words[1] in _NEGOTIATED and "caller" in request.context
        if negotiated and response.status not in (403, 406) and not _one_kind(request, response):
            response.headers["Vary"] = "Accept, Accept-Encoding" if words[1] == "stats" else "Accept"
        return response

    def _answer(self, request: Request, words: list[str], handler: Handler) -> Response:
        caller: User | None = None
        try:
            caller = identify(request, self._state.users, None, admin_port=True)
            request.context["caller"] = caller
            return handler(request, caller, words[2:])
        except S3Error as error:
            known = caller.key_id if caller else None
            error.headers = CORS | error.headers
            return error.response(request.path, request.context.get("key_id", known))
        except Crash as error:
            response = error.response()
            response.headers |= CORS | request.context.get("headers", {})
            return response
        except KvDown:
            return S3Error("ServiceUnavailable", headers=CORS).response(request.path, None)

    def _ping(self, request: Request) -> Response:
        if request.method not in ("GET", "HEAD"):
            return page(405, Allow="GET, HEAD")
        try:
            self._state.kv.call("ping", {})
        except KvDown:
            return page(503)
        return Response(200, {"Content-Type": "text/html"}, b"OK")

    def _only_admin(self, caller: User | None) -> None:
        if not self._state.is_admin(caller):
            raise S3Error("AccessDenied")

    # -- one user -----------------------------------------------------------------------------------------------------

    def _user(self, request: Request, caller: User | None, rest: list[str]) -> Response:
        match request.method:
            case "POST":
                return self._create(request, caller)
            case "GET" | "HEAD":
                return _shown(request, self._target(caller, rest))
            case "PUT":
                return self._update(request, caller, rest)
            case "DELETE":
                return self._delete(request, caller, rest)
        return page(405, Allow="GET, HEAD, POST, PUT, DELETE")

    def _target(self, caller: User | None, rest: list[str]) -> User:
        """The user named in the path, or the caller. Raises S3Error."""
        if caller is None:
            raise S3Error("AccessDenied")
        if not rest or not rest[0] or rest[0] == caller.key_id:
            return caller
        self._only_admin(caller)
        found = self._state.users.get(rest[0])
        if found is None:
            raise S3Error("InvalidAccessKeyId")
        return found

    def _create(self, request: Request, caller: User | None) -> Response:
        if self._state.values["anonymous_user_creation"] != "on":
            self._only_admin(caller)
        location = {"Location": f"http://{request.header('host')}/riak-cs/user"}
        request.context["headers"] = location
        kind = (request.header("content-type") or "").partition(";")[0]
        if kind not in (_JSON, _XML):
            response = page(415)
            response.headers |= CORS | location
            return response
        try:
            form = _form(kind, request.body())
            if "name" not in form or "email" not in form:
                raise S3Error("MissingParameter")
            if not re.fullmatch(r"[^@\s]+@[^@\s]+", str(form["email"])):
                text = "The email address you provided is not a valid."
                raise S3Error("ServiceUnavailable", message=text, status=400)
            user = records.create(str(form["name"]), str(form["email"]))
            self._state.stanchion.ask("create_user", {"user": packed(user)})
        except S3Error as error:
            error.headers = location
            raise
        body = user_json(user) if kind == _JSON else _user_xml(user)
        return Response(201, {"Content-Type": kind} | CORS | location, body.encode())

    def _update(self, request: Request, caller: User | None, rest: list[str]) -> Response:
        user = self._target(caller, rest)
        kind = (request.header("content-type") or "").partition(";")[0]
        if kind not in (_JSON, _XML):
            response = page(415)
            response.headers |= CORS
            return response
        form = _form(kind, request.body())
        old_email = user.email
        if form.get("status", user.status) not in ("enabled", "disabled"):
            raise Crash(f'{{error,function_clause,[{{riak_cs_wm_user,str_to_status,[<<"{form["status"]}">>]}}]}}')
        user.name = str(form.get("name", user.name))
        user.email = str(form.get("email", user.email))
        user.status = str(form.get("status", user.status))
        if form.get("new_key_secret") in (True, "true"):
            user.key_secret = records.new_secret()
        request.context["key_id"] = user.key_id
        self._state.stanchion.ask("update_user", {"user": packed(user), "old_email": old_email})
        body = user_json(user) if kind == _JSON else _user_xml(user)
        return Response(200, {"Content-Type": kind} | CORS, body.encode())

    def _delete(self, request: Request, caller: User | None, rest: list[str]) -> Response:
        user = self._target(caller, rest)
        self._only_admin(caller)
        request.context["key_id"] = user.key_id
        self._state.stanchion.ask("delete_user", {"key_id": user.key_id})
        kind = _JSON if "json" in (request.header("accept") or "") else _XML
        return Response(204, {"Content-Type": kind} | CORS)

    # -- the rest -----------------------------------------------------------------------------------------------------

    def _users(self, request: Request, caller: User | None, _: list[str]) -> Response:
        self._only_admin(caller)
        status = parameters(request.query).get("status")
        found = self._state.users.all()
        if status in ("enabled", "disabled"):
            found = [user for user in found if user.status == status]
        as_json = _JSON in (request.header("accept") or "")
        boundary = "".join(f"{byte % 36:x}".upper() for byte in os.urandom(31))
        parts = []
        for at in range(6):
            chosen = found[at::6]
            if as_json:
                text = "[" + ",".join(user_json(u) for u in chosen) + "]" if chosen else '""'
            else:
                text = "<Users>" + "".join(u.to_xml() for u in chosen) + "</Users>"
            kind = _JSON if as_json else _XML
            parts.append(f"\r\n--{boundary}\r\nContent-Type: {kind}\r\n\r\n{text}".encode())
        stream = iter([*parts, f"\r\n--{boundary}--".encode()])
        return Response(200, {"Content-Type": f"multipart/mixed; boundary={boundary}"} | CORS, stream)

    def _stats(self, request: Request, caller: User | None, _: list[str]) -> Response:
        self._only_admin(caller)
        values: dict[str, Any] = json.loads(_template())
        values.update({k: v for k, v in self._state.counters.items() if k in values})
        if "text/plain" in (request.header("accept") or ""):
            return _etagged("text/plain", json.dumps(values, indent=2).encode())
        return _etagged(_JSON, json.dumps(values, separators=(",", ":")).encode())

    def _info(self, _: Request, caller: User | None, __: list[str]) -> Response:
        self._only_admin(caller)
        ring, _blob = self._state.kv.call("ring", {})
        seconds = int(time.monotonic() - self._started)
        nodes = [
            {"backend_data_total_size": 0, "df_available": 0, "df_total": 0, "n_val": 3, "node": name}
            for name in sorted(ring["members"])[:1]
        ]
        content = {
            "storage_info": nodes,
            "system_version": "Erlang/OTP 25 [erts-13.1.5] (stand-in)",
            "uptime": f"{seconds // 60} minutes, {seconds % 60} sec",
            "version": "3.2.3",
        }
        body = json.dumps(content, separators=(",", ":")).encode()
        return Response(200, {"Content-Type": _JSON} | CORS, body)

    def _sessions(self, request: Request, caller: User | None, _: list[str]) -> Response:
        self._only_admin(caller)
        if _JSON in (request.header("accept") or ""):
            response = page(406)
            response.headers |= CORS
            return response
        return _etagged(
            _XML,
            b'<?xml version="1.0"?><ListTempSessionsResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/">'
            b"<ListTempSessionsResult><TempSessions/><IsTruncated>false</IsTruncated></ListTempSessionsResult>"
            b"<ResponseMetadata><RequestId>" + str(uuid.uuid4()).encode() + b"</RequestId></ResponseMetadata>"
            b"</ListTempSessionsResponse>",
        )

    def _usage(self, request: Request, caller: User | None, rest: list[str]) -> Response:
        return usage(self._state, request, caller, rest)


def _one_kind(request: Request, response: Response) -> bool:
    """Usage asked for as j or x in the path has one kind of answer, so nothing is negotiated."""
    words = request.path.split("/")
    return "content-type" in response.headers or (
        words[2] == "usage" and len(words) > 4 and words[4].endswith(("j", "x"))
    )


@cache
def _template() -> str:
    return Path(__file__).with_name("stats.json").read_text()


def _shown(request: Request, user: User) -> Response:
    accept = request.header("accept") or "*/*"
    if _JSON in accept:
        return _etagged(_JSON, user_json(user).encode())
    if _XML in accept or "*/*" in accept:
        return _etagged(_XML, _user_xml(user).encode())
    response = page(406)
    response.headers |= CORS
    return response


def _form(kind: str, raw: bytes) -> dict[str, Any]:
    """The fields of a request to create or change a user. Raises S3Error or Crash."""
    if kind == _JSON:
        try:
            loaded = json.loads(raw)
        except ValueError:
            raise Crash("{error,badarg,[{jsx_decoder,value,4}]}") from None
        return loaded if isinstance(loaded, dict) else {}
    try:
        root = ET.fromstring(raw)
    except ET.ParseError:
        raise S3Error("InvalidUserUpdate") from None
    names = {"Email": "email", "Name": "name", "Status": "status", "NewKeySecret": "new_key_secret"}
    return {names[e.tag]: e.text or "" for e in root if e.tag in names}
