"""MapReduce and link walking, as far as they were recorded."""

import json
import os
from typing import Any

from tests.hosts.standin.kv.node import KvNode
from tests.hosts.standin.kv.objects import base62
from tests.hosts.standin.web.messages import Request, Response, http_date, text

_FORMS = (
    "The PhaseSpec part of the argument for riak_kv_mrc_map must be of one of the following forms:\n"
    "   {modfun, Module :: atom(), Function :: atom()}\n   {qfun, Function :: function()}\n"
    "   {strfun, Source :: string()}\n   {strfun, {Bucket :: binary(), Key :: binary()}}\n"
)


def mapred(node: KvNode, request: Request) -> Response:
    """Counts the inputs; JavaScript phases are refused as the real one refuses them."""
    job = json.loads(request.body())
    for number, phase in enumerate(job.get("query", [])):
        for step in phase.values():
            if step.get("language") != "erlang":
                return _reply(400, {"phase": number, "error": _FORMS})
    inputs = job.get("inputs", [])
    count = len(inputs) if isinstance(inputs, list) else len(node.coordinator.keys("default", inputs))
    return _reply(200, [count])


def _reply(status: int, content: Any) -> Response:
    return Response(status, {"Content-Type": "application/json"}, json.dumps(content, separators=(",", ":")).encode())


def link_walk(steps: list[str]) -> Response:
    """Objects here have no links to follow: each step gives an empty part."""
    if any(step.count(",") != 2 for step in steps):
        return text(
            400,
            "Invalid link walk query submitted. Valid link walk query format is: "
            "/riak/some_bucket/some_key/<bucket>,<riaktag>,0|1/...",
        )
    outer, inner = base62(int.from_bytes(os.urandom(20))), base62(int.from_bytes(os.urandom(20)))
    part = f"\r\n--{outer}\r\nContent-Type: multipart/mixed; boundary={inner}\r\n\r\n--{inner}--\r\n"
    body = part * len(steps) + f"\r\n--{outer}--\r\n"
    headers = {"Content-Type": f"multipart/mixed; boundary={outer}", "Expires": http_date()}
    return Response(200, headers, body.encode())
