"""The HTTP interface of a KV node (port 8098): routes, bucket properties, listings, statistics."""

import gzip
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote_to_bytes

from tests.hosts.standin.kv import http_datatypes, http_index
from tests.hosts.standin.kv.coordinator import TimedOut
from tests.hosts.standin.kv.http_mapred import link_walk, mapred
from tests.hosts.standin.kv.http_object import VARY, ObjectResource
from tests.hosts.standin.kv.node import KvNode
from tests.hosts.standin.kv.properties import Invalid
from tests.hosts.standin.kv.stats import statistics
from tests.hosts.standin.web.messages import Request, Response, crash, not_found, page, text

SOFTWARE = "MochiWeb/3.0.0 WebMachine/0.0.0+build.1.ref0c68519 (greased slide to failure)"
JSON = {"Content-Type": "application/json"}
_AAE = "aaebucketlist cachedtrees erase objectsizes objectstats rangerepair rangerepl rangetrees reap siblings tombs"
RESOURCES = [("riak_kv_wm_aaefold", f"/{name}") for name in _AAE.split()] + [
    (f"riak_{name}", f"/{path}")
    for name, paths in (
        ("kv_wm_bucket_type", "types"),
        ("kv_wm_buckets", "buckets riak types"),
        ("kv_wm_counter", "buckets"),
        ("kv_wm_crdt", "types"),
        ("kv_wm_index", "buckets types"),
        ("kv_wm_keylist", "buckets types"),
        ("kv_wm_link_walker", "buckets riak types"),
        ("kv_wm_mapred", "mapred"),
        ("kv_wm_object", "buckets riak types"),
        ("kv_wm_ping", "ping"),
        ("kv_wm_props", "buckets types"),
        ("kv_wm_queue", "membership_request queuename"),
        ("kv_wm_stats", "stats"),
        ("repl_wm_rtenqueue", "rtq"),
        ("repl_wm_stats", "riak-repl"),
    )
    for path in paths.split()
]


def _words(path: str) -> list[str]:
    """Webmachine passes over empty ones. Source: webmachine_dispatcher.erl; mochiweb's unquote takes + for a space."""
    return [unquote_to_bytes(word.replace("+", " ")).decode("latin-1") for word in path.split("/") if word]


def parameters(query: str) -> dict[str, str]:
    found = {}
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        if name:
            found[name] = unquote_to_bytes(value.replace("+", " ")).decode("latin-1")
    return found


class KvHttp:
    def __init__(self, node: KvNode) -> None:
        self._node = node

    def __call__(self, request: Request) -> Response:
        return _encoded(request, self._answer(request))

    def _answer(self, request: Request) -> Response:
        words, params = _words(request.path), parameters(request.query)
        match words:
            case []:
                return self._root(request)
            case ["ping"]:
                return self._ping(request)
            case ["stats"]:
                return self._stats(request)
            case ["mapred"]:
                return mapred(self._node, request)
            case ["riak", bucket, *rest] if rest:
                return self._object(request, "default", bucket, rest, "/riak", params)
            case ["types", kind, "props"]:
                return self._type_props(request, kind)
            case ["types", kind, "buckets", *rest]:
                return self._typed(request, kind, rest, params)
            case ["buckets", *rest]:
                return self._bucket(request, "default", rest, params)
        return not_found()

    def _typed(self, request: Request, kind: str, rest: list[str], params: dict[str, str]) -> Response:
        if not self._node.properties.exists(kind):
            if rest[1:2] == ["index"]:  # only objects have words for it. Source: riak_kv_wm_index.erl
                return not_found()
            return Response(
                404, {"Content-Type": "text/plain"}, f"Unknown bucket type: {kind}".encode(), "Object Not Found"
            )
        return self._bucket(request, kind, rest, params)

    def _bucket(self, request: Request, kind: str, rest: list[str], params: dict[str, str]) -> Response:
        prefix = "/buckets"
        match rest:
            case []:
                return self._buckets(params)
            case [bucket, "props"]:
                return self._props(request, kind, bucket)
            case [bucket, "keys"] if request.method in ("GET", "HEAD"):
                return self._keys(kind, bucket, params)
            case [bucket, "keys"]:
                return ObjectResource(self._node, request, (kind, bucket, ""), prefix, params).answer()
            case [bucket, "keys", *path]:
                return self._object(request, kind, bucket, path, prefix, params)
            case [bucket, "index", _, *bounds] if bounds:
                return http_index.answer(self._node, request, kind, bucket, rest[2:], params)
            case [bucket, "counters", key]:
                return http_datatypes.legacy_counter(self._node, request, bucket, key)
            case [bucket, "datatypes"]:
                return http_datatypes.answer(self._node, request, kind, bucket, None, params)
            case [bucket, "datatypes", key]:
                return http_datatypes.answer(self._node, request, kind, bucket, key, params)
        return not_found()

    def _object(
        self, request: Request, kind: str, bucket: str, path: list[str], prefix: str, params: dict[str, str]
    ) -> Response:
        if len(path) > 1:
            return link_walk(path[1:])
        return ObjectResource(self._node, request, (kind, bucket, path[0]), prefix, params).answer()

    # -- the server ---------------------------------------------------------------------------------------------------

    def _root(self, request: Request) -> Response:
        link = ",".join(f'<{path}>; rel="{name}"' for name, path in RESOURCES)
        headers = {"Vary": "Accept", "Link": link}
        if "application/json" in (request.header("accept") or ""):
            content = "{" + ",".join(f'"{name}":"{path}"' for name, path in RESOURCES) + "}"
            return Response(200, headers | JSON, content.encode())
        items = "".join(f'<li><a href="{path}">{name}</a></li>' for name, path in RESOURCES)
        content = f"<html><body><ul>{items}</ul></body></html>"
        return Response(200, headers | {"Content-Type": "text/html"}, content.encode())

    def _ping(self, request: Request) -> Response:
        if request.method not in ("GET", "HEAD"):
            return page(405, "", Allow="GET, HEAD")
        return Response(200, {"Content-Type": "text/html"}, b"OK")

    def _stats(self, request: Request) -> Response:
        headers = {"Vary": "Accept, Accept-Encoding"}
        content = statistics(self._node)
        if "text/plain" in (request.header("accept") or ""):
            return Response(200, headers | {"Content-Type": "text/plain"}, json.dumps(content, indent=4).encode())
        return Response(200, headers | JSON, _json(content))

    # -- buckets ------------------------------------------------------------------------------------------------------

    def _type_props(self, request: Request, kind: str) -> Response:
        if not self._node.properties.exists(kind):
            missing = not_found()
            missing.headers |= VARY
            return missing
        if request.method == "PUT":
            changes = self._changes(request)
            if isinstance(changes, Response):
                return changes
            self._node.properties.set_type(kind, changes)
            return Response(204, VARY | JSON)
        return Response(200, VARY | JSON, _json({"props": self._node.properties.of_type(kind)}))

    def _props(self, request: Request, kind: str, bucket: str) -> Response:
        properties = self._node.properties
        if request.method == "DELETE":
            properties.reset(kind, bucket)
            return Response(204, VARY | JSON)
        if request.method == "PUT":
            changes = self._changes(request)
            if isinstance(changes, Response):
                return changes
            try:
                properties.set(kind, bucket, changes)
            except Invalid as invalid:
                return Response(400, VARY | JSON, str(invalid).encode())
            return Response(204, VARY | JSON)
        return Response(200, VARY | JSON, _json({"props": properties.of(kind, bucket)}))

    def _changes(self, request: Request) -> dict[str, Any] | Response:
        raw = request.body()
        try:
            changes: dict[str, Any] = json.loads(raw)["props"]
        except (ValueError, TypeError, KeyError):
            return text(400, 'bucket PUT must be a JSON object of the form:\n{"props":{...bucket properties...}}')
        if (request.header("content-type") or "").partition(";")[0] != "application/json":
            return page(415, "", **VARY)
        return changes

    def _buckets(self, params: dict[str, str]) -> Response:
        if params.get("buckets") != "true":
            return Response(200, VARY | JSON, b"{}")
        names = sorted(name for kind, name in self._node.coordinator.buckets() if kind == "default")
        try:
            decoded = [name.encode("latin-1").decode() for name in names]
        except UnicodeDecodeError:
            first = next(n for n in names if n.startswith(("0b:", "0o:")))
            shown = ",".join(str(byte) for byte in first[3:].encode("latin-1"))
            call = f'{{mochijson2,json_encode_string_unicode,[{{error,"{first[:3]}",<<{shown}>>}}]}}'
            refused = crash(f"{{error,function_clause,[{call}]}}")
            refused.headers |= VARY
            return refused
        return Response(200, VARY | JSON, _json({"buckets": decoded}))

    def _keys(self, kind: str, bucket: str, params: dict[str, str]) -> Response:
        wanted = params.get("keys")
        if wanted not in ("true", "stream"):
            return Response(200, VARY | JSON, b"{}")
        try:
            names = [
                k.encode("latin-1").decode("utf-8", "replace")
                for k in sorted(self._node.coordinator.keys(kind, bucket))
            ]
        except TimedOut:
            return text(503, "request timed out\n")
        if wanted == "true":
            return Response(200, VARY | JSON, _json({"keys": names}))
        return Response(200, VARY | JSON, _stream(names))


def _encoded(request: Request, response: Response) -> Response:
    """Compressed for a client that takes gzip, where the recorded answers vary by Accept-Encoding. Source:
    riak_kv_wm_utils.erl, default_encodings; webmachine takes what the client prefers, and the client named no other."""
    offered = (request.header("accept-encoding") or "").replace(" ", "").lower().split(",")
    negotiated = response.status in (200, 300) and "Accept-Encoding" in response.headers.get("Vary", "")
    if negotiated and "gzip" in offered and isinstance(response.body, bytes):
        response.headers["Content-Encoding"] = "gzip"
        response.body = gzip.compress(response.body)
    return response


def _stream(names: list[str]) -> Iterator[bytes]:
    for at in range(0, len(names), 100):
        yield _json({"keys": names[at : at + 100]})
    yield _json({"keys": []})


def _json(content: Any) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode()
