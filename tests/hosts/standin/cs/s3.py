"""The S3 listener: finds bucket, key and caller, and hands the request on."""

import uuid

from tests.hosts.standin.cs import s3_bucket, s3_multipart, s3_object
from tests.hosts.standin.cs.answers import Crash, S3Error
from tests.hosts.standin.cs.auth import identify
from tests.hosts.standin.cs.iam import iam
from tests.hosts.standin.cs.kv_client import KvDown
from tests.hosts.standin.cs.state import Call, CsState, parameters, split_path
from tests.hosts.standin.web.messages import Hangup, Request, Response, not_found

_NOWHERE = ("website", "logging", "notification", "torrent")
_METHODS = ("GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS")


class S3:
    def __init__(self, state: CsState) -> None:
        self._state = state

    def __call__(self, request: Request) -> Response:
        if not request.has("host"):
            raise Hangup
        if request.method not in _METHODS:
            return _unknown_method(request.method)
        request.context["id"] = str(uuid.uuid4())
        call, host = self._call(request)
        admin = self._state.values.get("admin.listener")
        if request.path.startswith("/riak-cs/") or request.path == "/riak-cs":
            return not_found() if admin else self._admin(request)
        resource = request.path if host is None else f"/{host}{request.path if request.path != '/' else ''}"
        try:
            return self._answer(call, host)
        except S3Error as error:
            shown = resource.rstrip("/") if not call.key and call.bucket_name else resource
            return error.response(shown or "/", call.key_id)
        except Crash as error:
            return error.response()
        except KvDown:
            return S3Error("ServiceUnavailable").response(resource, call.key_id)

    def _admin(self, request: Request) -> Response:
        from tests.hosts.standin.cs.admin_api import AdminApi

        return AdminApi(self._state)(request)

    def _call(self, request: Request) -> tuple[Call, str | None]:
        host = (request.header("host") or "").partition(":")[0].lower()
        suffix = "." + self._state.values["s3_root_host"]
        params = parameters(request.query)
        if host.endswith(suffix):
            bucket = host.removesuffix(suffix)
            _, key = split_path("/x" + request.path)
            return Call(self._state, request, bucket, key, params=params), bucket
        bucket, key = split_path(request.path)
        return Call(self._state, request, bucket, key, params=params), None

    def _answer(self, call: Call, host: str | None) -> Response:
        request = call.request
        special = (request.header("host") or "").partition(".")[0]
        if special in ("iam", "sts") and request.method == "POST":
            return iam(call, special)
        if call.bucket_name and any(name in call.params for name in _NOWHERE):
            return not_found()
        call.user = identify(request, self._state.users, host)
        self._state.count(f"{'object' if call.key else 'bucket'}_{request.method.lower()}_in_total")
        if not call.bucket_name:
            return s3_bucket.service(call)
        if not call.key:
            return s3_bucket.answer(call)
        if any(name in call.params for name in ("uploads", "uploadId", "partNumber")):
            return s3_multipart.answer(call)
        return s3_object.answer(call)


def _unknown_method(method: str) -> Response:
    content = (
        "<html><head><title>501 Not Implemented</title></head><body><h1>Not Implemented</h1>"
        f'The server does not support the "{method}" method.<br><P><HR>'
        "<ADDRESS>mochiweb+webmachine web server</ADDRESS></body></html>"
    )
    return Response(501, {"Content-Type": "text/html"}, content.encode())
