"""Secondary index queries over HTTP."""

import base64
import json
import os
import re
import struct
from typing import Any

from tests.hosts.standin.kv.node import KvNode
from tests.hosts.standin.kv.objects import RiakObject, base62
from tests.hosts.standin.web.messages import Request, Response, crash, text

VARY = {"Vary": "Accept-Encoding"}


def _encode(term: Any, key: str) -> str:
    """A continuation: the external form of {Term, Key}."""
    if isinstance(term, int):
        number = b"a" + bytes([term]) if 0 <= term < 256 else b"b" + struct.pack(">i", term)
    else:
        raw = term.encode("latin-1")
        number = b"m" + struct.pack(">I", len(raw)) + raw
    name = key.encode("latin-1")
    return base64.b64encode(b"\x83h\x02" + number + b"m" + struct.pack(">I", len(name)) + name).decode()


def _decode(token: str) -> tuple[Any, str]:
    raw = base64.b64decode(token, validate=True)
    at = 3
    if raw[at : at + 1] == b"a":
        term: Any = raw[at + 1]
        at += 2
    elif raw[at : at + 1] == b"b":
        (term,) = struct.unpack_from(">i", raw, at + 1)
        at += 5
    else:
        (size,) = struct.unpack_from(">I", raw, at + 1)
        term = raw[at + 5 : at + 5 + size].decode("latin-1")
        at += 5 + size
    return term, raw[at + 5 :].decode("latin-1")


def answer(
    node: KvNode, request: Request, bucket_type: str, bucket: str, words: list[str], params: dict[str, str]
) -> Response:
    field, bounds = words[0], words[1:]
    if not (field.endswith(("_bin", "_int")) or field in ("$key", "$bucket")):
        return text(400, f'Invalid query: {{unknown_field_type,<<"{field}">>}}\n')
    numeric = field.endswith("_int")
    for bound in bounds:
        if numeric and not re.fullmatch(r"-?\d+", bound):
            return text(400, f'Invalid query: {{field_parsing_failed,{{<<"{field}">>,<<"{bound}">>}}}}\n')
    if len(bounds) > 2:
        return crash("{error,{case_clause,{_,[_,_,_]}}}")
    if len(bounds) == 1:  # one term is in no need of being told. Source: riak_kv_wm_index.erl
        params = {**params, "return_terms": "false"}
    limit = params.get("max_results")
    if limit is not None and (not limit.isdigit() or int(limit) < 1):
        return text(400, f'Invalid "max_results". {limit} is not a positive integer')
    after = None
    if "continuation" in params:
        try:
            after = _decode(params["continuation"])
        except (ValueError, struct.error, IndexError):
            return crash("{error,function_clause,\n    [{base64,decode_list,[[],<<>>,51,51,51]}]}")
    if not node.backends.has_indexes(bucket_type, bucket, node.properties.of(bucket_type, bucket)):
        refused = crash(f"{{error,{{indexes_not_supported,{node.backends.module}}}}}")
        refused.headers |= VARY
        return refused
    rows = _rows(node, bucket_type, bucket, field, bounds, params.get("term_regex"))
    return _page(rows, after, int(limit) if limit else None, params)


def _rows(
    node: KvNode, bucket_type: str, bucket: str, field: str, bounds: list[str], regex: str | None
) -> list[tuple[Any, str]]:
    convert: Any = int if field.endswith("_int") else str
    low, high = convert(bounds[0]), convert(bounds[-1])
    pattern = re.compile(regex) if regex else None

    def matches(key: str, found: RiakObject) -> list[Any]:
        if field == "$bucket":
            return [key]
        terms = [key] if field == "$key" else [convert(v) for s in found.live for n, v in s.indexes if n == field]
        return [t for t in terms if low <= t <= high and (pattern is None or pattern.search(str(t)))]

    return node.coordinator.index(bucket_type, bucket, matches)


def _page(rows: list[tuple[Any, str]], after: Any, limit: int | None, params: dict[str, str]) -> Response:
    if after is not None:
        rows = [row for row in rows if row > after]
    continuation = None
    if limit is not None:
        rows = rows[:limit]
        if len(rows) == limit:
            continuation = _encode(*rows[-1])
    content: dict[str, Any]
    if params.get("return_terms") == "true":
        content = {"results": [{str(term): _utf8(key)} for term, key in rows]}
    else:
        content = {"keys": [_utf8(key) for _, key in rows]}
    if params.get("stream") != "true":
        if continuation:
            content["continuation"] = continuation
        return Response(200, VARY | {"Content-Type": "application/json"}, _json(content))
    boundary = base62(int.from_bytes(os.urandom(20)))
    parts = [content] + ([{"continuation": continuation}] if continuation else [])
    pieces = [f"\r\n--{boundary}\r\nContent-Type: application/json\r\n\r\n".encode() + _json(part) for part in parts]
    stream = iter([*pieces, f"\r\n--{boundary}--\r\n".encode()])
    return Response(200, VARY | {"Content-Type": f"multipart/mixed;boundary={boundary}"}, stream)


def _utf8(key: str) -> str:
    return key.encode("latin-1").decode("utf-8", "replace")


def _json(content: Any) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode()
