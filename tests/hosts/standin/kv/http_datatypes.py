"""Counters, sets, maps and hyperloglogs over HTTP; each is kept as JSON inside an object."""

import base64
import binascii
import json
import os
from typing import Any

from tests.hosts.standin.kv.coordinator import TimedOut
from tests.hosts.standin.kv.node import KvNode
from tests.hosts.standin.kv.objects import base62, clock_text
from tests.hosts.standin.web.messages import Request, Response, page, text

VARY = {"Vary": "Accept-Encoding"}
JSON = {"Content-Type": "application/json"}
_EMPTY: dict[str, Any] = {"counter": 0, "set": [], "gset": [], "hll": [], "map": {}, "register": "", "flag": False}
_WITH_CONTEXT = ("set", "map")


class BadOperation(ValueError):
    """args: what the 400 says."""


def answer(
    node: KvNode, request: Request, bucket_type: str, bucket: str, key: str | None, params: dict[str, str]
) -> Response:
    if request.method not in ("GET", "HEAD", "POST"):
        return page(405, "", Allow="GET, HEAD, POST")
    datatype = node.properties.of_type(bucket_type).get("datatype")
    if datatype is None:
        where = f"/buckets/{bucket}/counters/{key}"
        content = "Counters in the default bucket-type should use the legacy URL\n"
        return Response(301, {"Location": where, "Content-Type": "text/plain"}, content.encode())
    try:
        if request.method == "POST":
            return _post(node, request, (bucket_type, bucket), key, datatype, params)
        assert key is not None
        return _get(node, (bucket_type, bucket, key), datatype, params)
    except BadOperation as bad:
        return text(400, f"{bad}\n", **VARY)
    except TimedOut:
        return text(503, "request timed out\n")


def _load(node: KvNode, place: tuple[str, str, str]) -> tuple[Any, dict[str, int]]:
    found = node.coordinator.get(place)
    if found is None or not found.live:
        return None, found.clock if found else {}
    newest = max(found.live, key=lambda s: s.modified)
    return json.loads(newest.value), found.clock


def _get(node: KvNode, place: tuple[str, str, str], datatype: str, params: dict[str, str]) -> Response:
    value, clock = _load(node, place)
    if value is None:
        content = json.dumps({"type": datatype, "error": "notfound"}, separators=(",", ":"))
        return Response(404, VARY | JSON, content.encode(), "Object Not Found")
    return Response(200, VARY | JSON, _show(datatype, value, clock, params))


def _show(datatype: str, value: Any, clock: dict[str, int], params: dict[str, str]) -> bytes:
    shown = len(value) if datatype == "hll" else _sorted(value)
    content = {"type": datatype, "value": shown}
    if datatype in _WITH_CONTEXT and params.get("include_context") != "false":
        content["context"] = clock_text(clock)
    return json.dumps(content, separators=(",", ":")).encode()


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _sorted(inner) for name, inner in sorted(value.items())}
    return sorted(value) if isinstance(value, list) else value


def _post(
    node: KvNode, request: Request, bucket: tuple[str, str], key: str | None, datatype: str, params: dict[str, str]
) -> Response:
    raw = request.body()
    try:
        operation = json.loads(raw)
    except ValueError:
        raise BadOperation(f'Couldn\'t decode JSON: {{case_clause,<<"{raw.decode("latin-1")}">>}}') from None
    if isinstance(operation, dict) and "context" in operation:
        try:
            base64.b64decode(str(operation.pop("context")), validate=True)
        except binascii.Error:
            raise BadOperation("Couldn't decode JSON: function_clause") from None
    name = key or base62(int.from_bytes(os.urandom(20)))
    value, clock = _load(node, (*bucket, name))
    changed = apply(datatype, _EMPTY[datatype] if value is None else value, operation)
    write = {"metadata": {"content-type": f"application/riak_{datatype}"}}
    written = node.coordinator.put((*bucket, name), clock, write, json.dumps(changed).encode())
    if key is None:
        where = f"/types/{bucket[0]}/buckets/{bucket[1]}/keys/{name}"
        return Response(201, VARY | JSON | {"Location": where})
    if params.get("returnbody") == "true":
        return Response(200, VARY | JSON, _show(datatype, changed, written.clock, params))
    return Response(204, VARY | JSON)


def _wrong(datatype: str, operation: Any) -> BadOperation:
    shown = json.dumps(operation, separators=(",", ":"))
    if datatype == "map" and isinstance(operation, dict):
        shown = json.dumps(next(iter(operation), ""))
    return BadOperation(f"Invalid operation on datatype '{datatype}': {shown}")


def apply(datatype: str, value: Any, operation: Any) -> Any:
    """The value after an operation. Raises BadOperation."""
    match datatype:
        case "counter":
            return value + _amount(operation)
        case "set" | "gset" | "hll":
            return _apply_set(datatype, list(value), operation)
        case "map":
            return _apply_map(dict(value), operation)
        case "flag":
            return operation == "enable"
        case _:
            return operation.get("assign", "") if isinstance(operation, dict) else operation


def _amount(operation: Any) -> int:
    if isinstance(operation, int):
        return operation
    if isinstance(operation, dict) and len(operation) == 1:
        name, amount = next(iter(operation.items()))
        if isinstance(amount, int) and name in ("increment", "decrement"):
            return amount if name == "increment" else -amount
    if operation == "increment":
        return 1
    raise _wrong("counter", operation)


def _apply_set(datatype: str, value: list[str], operation: Any) -> list[str]:
    known = {"add", "add_all", "remove", "remove_all"}
    if not isinstance(operation, dict) or not operation or set(operation) - known:
        raise _wrong(datatype, operation)
    add = [*operation.get("add_all", []), *([operation["add"]] if "add" in operation else [])]
    remove = [*operation.get("remove_all", []), *([operation["remove"]] if "remove" in operation else [])]
    return sorted((set(value) - set(remove)) | set(add))


def _apply_map(value: dict[str, Any], operation: Any) -> dict[str, Any]:
    if not isinstance(operation, dict) or set(operation) - {"update", "remove", "add"}:
        raise _wrong("map", operation)
    removed = operation.get("remove", [])
    for name in [removed] if isinstance(removed, str) else removed:
        value.pop(name, None)
    for name, inner in operation.get("update", {}).items():
        kind = name.rpartition("_")[2]
        if kind not in ("register", "flag", "counter", "set", "map"):
            raise BadOperation(f"Invalid map field name '{name}'")
        value[name] = apply(kind, value.get(name, _EMPTY[kind]), inner)
    return value


def legacy_counter(node: KvNode, request: Request, bucket: str, key: str) -> Response:
    """/buckets/B/counters/K, the resource of Riak 1.4."""
    place = ("default", bucket, key)
    try:
        value, clock = _load(node, place)
        if request.method == "GET":
            return text(404, "not found\n") if value is None else text(200, str(value), **VARY)
        amount = int(request.body())
        write = {"metadata": {"content-type": "application/riak_counter"}}
        node.coordinator.put(place, clock, write, json.dumps((value or 0) + amount).encode())
        return Response(204, {"Content-Type": "text/plain"})
    except ValueError:
        return text(400, "Counters require a base 10 integer\n")
    except TimedOut:
        return text(503, "request timed out\n")
