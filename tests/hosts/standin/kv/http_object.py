"""Objects over HTTP: GET, HEAD, PUT, POST, DELETE of /buckets/B/keys/K and its older forms."""

import os
import re
import threading
from typing import Any
from urllib.parse import quote

from tests.hosts.standin.kv.coordinator import TimedOut
from tests.hosts.standin.kv.log_store import Place
from tests.hosts.standin.kv.node import KvNode
from tests.hosts.standin.kv.objects import BadClock, RiakObject, Sibling, base62, clock_from_text, clock_text
from tests.hosts.standin.web.messages import Request, Response, crash, http_date, not_found, page, text

VARY = {"Vary": "Accept-Encoding"}
MAXIMUM = 50 << 20
_DELETED = "X-Riak-Deleted: true\r\n"
"""Of a tombstone among siblings. Not recorded; source: riak_kv_wm_utils.erl, multipart_encode_body."""
_KEPT = ("content-encoding",)


class Refused(Exception):
    """Answer with this response instead."""

    @property
    def response(self) -> Response:
        return self.args[0]


def quorum(params: dict[str, str], name: str, default: Any, n: int) -> int:
    """The number behind r, w, pr ...; raises Refused."""
    value = params.get(name, default)
    words = {"one": 1, "quorum": n // 2 + 1, "all": n, "default": n // 2 + 1}
    if isinstance(value, str) and value not in words and not value.isdigit():
        message = f"{name} query parameter must be an integer or one of the following words: 'one', 'quorum' or 'all'\n"
        raise Refused(text(400, message))
    number = words[value] if value in words else int(value)
    if number > n:
        message = f"Specified w/dw/pw/node_confirms values invalid for bucket n value of {n}\n"
        raise Refused(Response(400, {}, message.encode()))
    return number


def bad_clock(function: str) -> Response:
    return crash(
        "{error,\n    {error,function_clause,\n        [{base64,decode_list,\n             [[],<<>>,51,51,51],\n"
        f'             [{{file,"base64.erl"}},{{line,353}}]}},\n         {{riak_kv_wm_object,{function}}}]}}}}'
    )


class ObjectResource:
    """One request on one object; `prefix` is the path in front of the bucket, for Link headers."""

    def __init__(self, node: KvNode, request: Request, place: Place, prefix: str, params: dict[str, str]) -> None:
        self._node, self._request, self._place, self._prefix, self._params = node, request, place, prefix, params
        self._props = node.properties.of(place[0], place[1])
        self._n = int(self._props["n_val"])

    def answer(self) -> Response:
        """Errors after content negotiation carry Vary too."""
        response = self._answer()
        if response.status in (409, 412, 500, 503):
            response.headers |= VARY
        return response

    def _answer(self) -> Response:
        try:
            self._check_timeout()
            match self._request.method:
                case "GET" | "HEAD":
                    return self._get()
                case "PUT" | "POST":
                    return self._put()
                case "DELETE":
                    return self._delete()
            return page(405, "", Allow="HEAD, GET, DELETE, PUT, POST")
        except Refused as refused:
            return refused.response
        except TimedOut:
            return text(503, "request timed out\n")
        except BadClock:
            return bad_clock("decode_vclock_header")

    def _check_timeout(self) -> None:
        value = self._params.get("timeout")
        if value is not None and not value.isdigit():
            raise Refused(text(400, f'Bad timeout value "{value}"\n'))

    def _read(self) -> RiakObject | None:
        r = quorum(self._params, "r", self._props["r"], self._n)
        pr = quorum(self._params, "pr", self._props["pr"], self._n)
        return self._node.coordinator.get(self._place, r, pr)

    # -- reading ----------------------------------------------------------------------------------------------------

    def _get(self) -> Response:
        self._node.count("node_gets_total")
        found = self._read()
        if found is None or not found.live:
            if found is None:
                return text(404, "not found\n")
            return text(404, "not found\n", **{"X-Riak-Vclock": clock_text(found.clock), "X-Riak-Deleted": "true"})
        live = found.siblings  # a tombstone beside a value is a sibling too
        vtag = self._params.get("vtag")
        if vtag is not None and len(live) > 1:
            live = tuple(s for s in live if s.vtag == vtag)
            if not live:
                missing = not_found()
                missing.headers["Vary"] = "Accept, Accept-Encoding"
                return missing
        if len(live) > 1:
            return self._siblings(found)
        etag = f'"{live[0].vtag}"'
        if self._request.header("if-none-match") in (etag, "*"):
            return Response(304, {"ETag": etag} | VARY)
        accept = self._request.header("accept")
        content_type = live[0].metadata.get("content-type", "application/octet-stream")
        if accept and not _accepts(accept, content_type):
            return page(406, "")
        return Response(200, self._headers(found, live[0]), live[0].value)

    def _headers(self, found: RiakObject, sibling: Sibling) -> dict[str, str]:
        metadata = sibling.metadata
        headers = {
            "X-Riak-Vclock": clock_text(found.clock),
            **VARY,
            "Link": self._link(metadata),
            "Last-Modified": http_date(sibling.modified),
            "ETag": f'"{sibling.vtag}"',
            "Content-Type": metadata.get("content-type", "application/octet-stream"),
        }
        headers.update(metadata.get("meta", {}))
        grouped: dict[str, list[str]] = {}
        for name, value in sibling.indexes:
            grouped.setdefault(f"x-riak-index-{name}", []).append(value)
        headers.update({name: ", ".join(sorted(values)) for name, values in grouped.items()})
        if "charset=" in headers["Content-Type"]:
            del headers["Vary"]
        if "content-encoding" in metadata and metadata["content-encoding"] != "identity":
            headers["Content-Encoding"] = metadata["content-encoding"]
        return headers

    def _link(self, metadata: dict[str, Any]) -> str:
        up = f'<{self._prefix}/{quote(self._place[1].encode("latin-1"), safe="")}>; rel="up"'
        return ", ".join([*metadata.get("links", []), up])

    def _siblings(self, found: RiakObject) -> Response:
        headers = {
            "X-Riak-Vclock": clock_text(found.clock),
            "Vary": "Accept, Accept-Encoding",
            "Last-Modified": http_date(found.modified),
            "ETag": f'"{base62(hash(tuple(s.vtag for s in found.siblings)) & ((1 << 120) - 1))}"',
        }
        ordered = sorted(found.siblings, key=lambda s: -s.modified)
        if "multipart/mixed" not in (self._request.header("accept") or ""):
            listing = "Siblings:\n" + "".join(f"{s.vtag}\n" for s in ordered)
            return Response(300, headers | {"Content-Type": "text/plain"}, listing.encode())
        boundary = base62(int.from_bytes(os.urandom(20)))
        parts = []
        for sibling in ordered:
            kind = sibling.metadata.get("content-type", "application/octet-stream")
            head = (
                f"\r\n--{boundary}\r\nContent-Type: {kind}\r\n"
                f"Link: {self._link(sibling.metadata)}\r\nEtag: {sibling.vtag}\r\n"
                f"Last-Modified: {http_date(sibling.modified)}\r\n{_DELETED if sibling.deleted else ''}\r\n"
            )
            parts.append(head.encode("latin-1") + sibling.value)
        body = b"".join(parts) + f"\r\n--{boundary}--\r\n".encode()
        return Response(300, headers | {"Content-Type": f"multipart/mixed; boundary={boundary}"}, body)

    # -- writing ----------------------------------------------------------------------------------------------------

    def _conditions(self) -> RiakObject | None:
        """Checks If-None-Match, If-Match and X-Riak-If-Not-Modified. Raises Refused."""
        found = self._read()
        exists = found is not None and bool(found.live)
        if self._request.header("if-none-match") == "*" and exists:
            raise Refused(page(412, ""))
        wanted = self._request.header("if-match")
        if wanted is not None and not (exists and found and wanted in ("*", *(f'"{s.vtag}"' for s in found.live))):
            raise Refused(page(412, ""))
        unmodified = self._request.header("x-riak-if-not-modified")
        if unmodified is not None and (found is None or clock_from_text(unmodified) != found.clock):
            raise Refused(page(409, ""))
        return found

    def _metadata(self) -> dict[str, Any]:
        content_type = self._request.header("content-type")
        if content_type is None:
            raise Refused(text(400, "Missing Content-Type request header"))
        metadata: dict[str, Any] = {"content-type": content_type}
        meta, indexes = {}, []
        for name, value in self._request.headers:
            lower = name.lower()
            if lower.startswith("x-riak-meta-"):
                meta[name] = value
            elif lower.startswith("x-riak-index-"):
                indexes += [(lower[13:], _index_value(lower[13:], part.strip())) for part in value.split(",")]
            elif lower in _KEPT:
                metadata[lower] = value
            elif lower == "link":
                metadata["links"] = [v.strip() for v in value.split(",") if 'rel="up"' not in v]
        return metadata | ({"meta": meta} if meta else {}) | ({"indexes": indexes} if indexes else {})

    def _put(self) -> Response:
        self._node.count("node_puts_total")
        if self._request.context.get("chunked") or self._request.remaining > MAXIMUM + 4096:
            size = self._request.remaining + 245
            for _ in self._request.chunks() if size < (1 << 32) else ():
                pass
            return text(500, f"Error:\n{{too_large,{size}}}\n")
        try:
            w = max(quorum(self._params, k, self._props[k], self._n) for k in ("w", "dw", "pw"))
        except Refused as refused:
            if not refused.response.headers:
                kind = self._request.header("content-type") or "text/plain"
                refused.response.headers.update(VARY | {"Content-Type": kind})
            raise
        self._conditions()
        metadata = self._metadata()
        context_text = self._request.header("x-riak-vclock")
        value = self._request.body()
        context = clock_from_text(context_text) if context_text else {}
        created = self._request.method == "POST" and not self._place[2]
        if created:
            self._place = (*self._place[:2], base62(int.from_bytes(os.urandom(20))))
        write = {"metadata": metadata}
        written = self._node.coordinator.put(self._place, context, write, value, w)
        if self._params.get("returnbody") == "true":
            if len(written.siblings) > 1:
                return self._siblings(written)
            return Response(200, self._headers(written, written.live[-1]), written.live[-1].value)
        headers = VARY | {"Content-Type": metadata["content-type"]}
        if created:
            bucket = quote(self._place[1].encode("latin-1"), safe="")
            headers["Location"] = f"{self._prefix}/{bucket}/keys/{self._place[2]}"
            return Response(201, headers)
        return Response(204, headers)

    def _delete(self) -> Response:
        found = self._read()
        if found is None or not found.live:
            return text(404, "not found\n", **VARY)
        given = self._request.header("x-riak-vclock")
        context = clock_from_text(given) if given else found.clock
        gone = self._node.coordinator.put(self._place, context, {"metadata": {}, "deleted": True}, b"")
        if not gone.live:
            node, place = self._node, self._place
            timer = threading.Timer(node.tuning.reap_seconds, lambda: _reap(node, place, gone.clock))
            timer.daemon = True
            timer.start()
        return Response(204, VARY | {"Content-Type": "text/html"})


def _reap(node: KvNode, place: Place, clock: dict[str, int]) -> None:
    if not node.stopping.is_set():
        try:
            node.coordinator.reap(place, clock)
        except RuntimeError:
            return


def _accepts(accept: str, content_type: str) -> bool:
    mine = content_type.partition(";")[0].strip()
    for offered in accept.split(","):
        kind = offered.partition(";")[0].strip()
        if kind in ("*/*", "*", mine) or (kind.endswith("/*") and mine.startswith(kind[:-1])):
            return True
    return False


def _index_value(name: str, value: str) -> str:
    if name.endswith("_int") and not re.fullmatch(r"-?\d+", value):
        raise Refused(text(400, f"Could not parse field '{name}', value '{value}'.\n"))
    return value
