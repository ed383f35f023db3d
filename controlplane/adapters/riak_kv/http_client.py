"""Riak KV by its HTTP API. The stand-in of the tests answers as the real one was recorded (tests/hosts/replay)."""

from __future__ import annotations

import base64
import json
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import aiohttp
from aiohttp.connector import AddrInfoType
from yarl import URL

from controlplane.adapters.peer_host import ended_when_silent
from controlplane.adapters.riak_kv.kv import STRICT, Fetched, Indexes, IndexPage, Quorum
from controlplane.adapters.riak_kv.multipart import MalformedParts, split_parts
from controlplane.adapters.riak_kv.nodes import Nodes
from controlplane.adapters.riak_kv.options import RiakKvOptions
from controlplane.adapters.riak_kv.refusals import DEFAULT_TYPE, no_siblings, no_such_type, refusal_of
from controlplane.ports.clock import Clock
from controlplane.ports.errors import Conflict, Rejected, Unavailable

_TERMS_A_HEADER: Final = 40
"""Riak's HTTP server refuses header lines of more than 8 KiB."""
_SERVER: Final = b"mochiweb+webmachine"
"""On Riak's own error pages, whatever a proxy may say. See _Answer.knows_no_path."""
_BODY: Final = "application/octet-stream"
_NO_ANSWER: Final = (TimeoutError, aiohttp.ClientError, OSError, ValueError)


@dataclass(frozen=True, slots=True)
class _Answer:
    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def knows_no_path(self) -> bool:
        """Of a bucket type that is not there, and of whatever is asked while the node starts or stops: its HTTP server
        runs before the vnodes do, and after them, without any path (riak_kv_app.erl, start/2 and prep_stop/1)."""
        return self.status == 404 and _SERVER in self.body

    @property
    def says(self) -> str:
        return f"{self.status} {self.body[:200].decode(errors='replace').strip()}"


class RiakHttp:
    """See the protocol. Every request may be sent to another node when one fails: writing the same value twice under
    one vector clock leaves two equal siblings, which the next reader joins."""

    def __init__(self, options: RiakKvOptions, clock: Clock) -> None:
        self._options = options
        self._clock = clock
        self._nodes = Nodes(options.endpoints)
        self._session: aiohttp.ClientSession | None = None
        self._under_way = 0
        self._closed = False
        self._with_siblings: set[str] = set()

    async def fetch(self, bucket: str, key: str, quorum: Quorum = STRICT) -> Fetched:
        query = {
            "r": quorum.replicas,
            "pr": quorum.primaries,
            "notfound_ok": "true" if quorum.not_found_counts else "false",
        }
        answer = await self._ask("GET", self._object(bucket, key), query, {"Accept": "multipart/mixed, */*;q=0.9"})
        clock = answer.headers.get("X-Riak-Vclock", "").encode("ascii", "replace")
        match answer.status:
            case 200:
                return Fetched((answer.body,), clock)
            case 300:
                try:
                    parts = split_parts(answer.headers.get("Content-Type", ""), answer.body)
                except MalformedParts as error:
                    raise Unavailable(f"Riak KV {answer.url} answered siblings that cannot be read: {error}") from error
                return Fetched(tuple(body for head, body in parts if "x-riak-deleted" not in head), clock)
            case 404 if answer.body.startswith(b"not found"):
                return Fetched((), clock)
        raise self._failure(answer)

    async def store(
        self,
        bucket: str,
        key: str,
        value: bytes,
        *,
        clock: bytes = b"",
        indexes: Indexes = (),
        if_absent: bool = False,
        quorum: Quorum = STRICT,
    ) -> None:
        headers = [("Content-Type", _BODY)]
        if clock:
            headers.append(("X-Riak-Vclock", clock.decode("ascii")))
        if if_absent:
            headers.append(("If-None-Match", "*"))
        terms: dict[str, list[str]] = {}
        for field, term in indexes:
            terms.setdefault(field, []).append(term)
        headers += [
            (f"X-Riak-Index-{field}", ", ".join(found[start : start + _TERMS_A_HEADER]))
            for field, found in terms.items()
            for start in range(0, len(found), _TERMS_A_HEADER)
        ]
        query = {"w": quorum.replicas, "dw": quorum.replicas, "pw": quorum.primaries}
        if quorum.keeps_all:
            await self.require_siblings(bucket)
        answer = await self._ask("PUT", self._object(bucket, key), query, headers, value)
        if answer.status == 412:
            raise Conflict(f"Riak KV {answer.url} has a value under {key} already")
        if answer.status not in (200, 204):
            raise self._failure(answer)

    async def delete(self, bucket: str, key: str, clock: bytes, quorum: Quorum = STRICT) -> None:
        query = {"r": quorum.replicas, "w": quorum.replicas, "dw": quorum.replicas, "pw": quorum.primaries}
        headers = {"X-Riak-Vclock": clock.decode("ascii")} if clock else {}
        answer = await self._ask("DELETE", self._object(bucket, key), query, headers)
        if answer.status == 404 and answer.body.startswith(b"not found"):
            return
        if answer.status != 204:
            raise self._failure(answer)

    async def index(
        self,
        bucket: str,
        field: str,
        low: str,
        high: str,
        *,
        limit: int,
        continuation: bytes = b"",
        regex: str = "",
    ) -> IndexPage:
        # Equal terms tell nothing apart: they are asked for as a range too.
        path = f"{self._bucket(bucket)}/index/{_segment(field)}/{_segment(low)}/{_segment(high)}"
        query = {"max_results": str(limit), "return_terms": "true"}
        if continuation:
            query["continuation"] = continuation.decode("ascii")
        if regex:
            query["term_regex"] = regex
        answer = await self._ask("GET", path, query, {"Accept": "application/json"})
        if answer.knows_no_path:
            raise await self._without_type(answer)
        if answer.status != 200:
            raise self._failure(answer)
        try:
            found: dict[str, Any] = json.loads(answer.body)
            # A page without a hit has no "results" but an empty "keys".
            rows = tuple((str(term), str(key)) for row in found.get("results", ()) for term, key in row.items())
            return IndexPage(rows, str(found.get("continuation", "")).encode("ascii"))
        except (ValueError, AttributeError, TypeError) as error:
            raise Unavailable(f"Riak KV {answer.url} answered an index query with what is not its JSON") from error

    async def ping(self) -> None:
        answer = await self._ask("GET", "/ping", {}, {})
        if answer.status != 200:
            raise self._failure(answer)

    async def aclose(self) -> None:
        """Later calls raise Unavailable. Idempotent."""
        self._closed = True
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    # -- one request --------------------------------------------------------------------------------------------------

    async def require_siblings(self, bucket: str) -> None:
        """See the protocol. Asked once a bucket."""
        if bucket in self._with_siblings:
            return
        kind = self._options.bucket_type
        path = f"{self._bucket(bucket)}/props" if kind == DEFAULT_TYPE else f"/types/{_segment(kind)}/props"
        answer = await self._ask("GET", path, {}, {"Accept": "application/json"})
        where = f"Riak KV {answer.url}"
        if answer.knows_no_path:
            raise await self._without_type(answer)
        if answer.status != 200:
            raise self._failure(answer)
        try:
            found: dict[str, Any] = json.loads(answer.body)["props"]
            keeps = found["allow_mult"] is True and found.get("last_write_wins") is not True
        except (ValueError, KeyError, TypeError) as error:
            raise Unavailable(f"{where} answered with properties that are not its JSON") from error
        if not keeps:
            raise no_siblings(kind, bucket, where)
        self._with_siblings.add(bucket)

    async def _without_type(self, answer: _Answer) -> Exception:
        """What it means that no node knows a path of the bucket type."""
        try:
            starting = (await self._attempt(answer.url, "GET", "/ping", {}, {}, None)).knows_no_path
        except _NO_ANSWER:
            starting = True
        return self._failure(answer) if starting else no_such_type(self._options.bucket_type, f"Riak KV {answer.url}")

    def _bucket(self, bucket: str) -> str:
        kind = self._options.bucket_type
        return f"{'' if kind == DEFAULT_TYPE else f'/types/{_segment(kind)}'}/buckets/{_segment(bucket)}"

    def _object(self, bucket: str, key: str) -> str:
        return f"{self._bucket(bucket)}/keys/{_segment(key)}"

    async def _ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        headers: Mapping[str, str] | list[tuple[str, str]],
        body: bytes | None = None,
    ) -> _Answer:
        """The first answer of a node that is not about the node itself. Raises Unavailable when none gives one."""
        if self._under_way >= self._options.waiting:
            raise Unavailable(
                f"{self._under_way} requests to Riak KV are under way or waiting, the most there may be: pushed back",
                retry_after=1.0,
            )
        self._under_way += 1
        failures: list[str] = []
        last: _Answer | None = None
        pathless: _Answer | None = None
        try:
            for url in self._nodes.order(self._clock.monotonic()):
                try:
                    answer = await self._attempt(url, method, path, query, headers, body)
                except _NO_ANSWER as error:
                    if self._closed:
                        break
                    self._nodes.failed(url, self._clock.monotonic())
                    failures.append(f"{url}: {str(error) or type(error).__name__}")
                    continue
                if answer.knows_no_path:
                    pathless = answer
                    continue
                self._nodes.answered(url)
                if answer.status < 500:
                    return answer
                # Too few replicas here may be enough elsewhere; a second opinion is worth one more request.
                if last is not None:
                    return answer
                last = answer
        finally:
            self._under_way -= 1
        if (said := last or pathless) is not None:
            return said
        if self._closed:
            raise Unavailable("the connections to Riak KV are closed: this process is stopping")
        raise Unavailable(
            f"no node of Riak KV answers ({'; '.join(failures)}): see `riak admin member-status` and riak_kv.endpoints"
        )

    async def _attempt(
        self,
        url: str,
        method: str,
        path: str,
        query: Mapping[str, str],
        headers: Mapping[str, str] | list[tuple[str, str]],
        body: bytes | None,
    ) -> _Answer:
        asked = {**query, "timeout": str(int(self._options.timeout_s * 1000))} if query else query
        address = f"{url}{path}?{'&'.join(f'{name}={_quoted(value)}' for name, value in asked.items())}"
        async with self._connected().request(
            method, URL(address, encoded=True), headers=headers, data=body, allow_redirects=False
        ) as response:
            return _Answer(url, response.status, response.headers, await response.read())

    def _connected(self) -> aiohttp.ClientSession:
        if self._closed:
            raise Unavailable("the connections to Riak KV are closed: this process is stopping")
        if self._session is None:
            options = self._options
            headers = {}
            if options.username:
                login = base64.b64encode(f"{options.username}:{options.password}".encode()).decode()
                headers["Authorization"] = f"Basic {login}"
            self._session = aiohttp.ClientSession(
                headers=headers,
                # Riak compresses objects and lists for whoever says that gzip will do: work for both, and the bytes
                # would not be those that were stored.
                skip_auto_headers=("Accept-Encoding",),
                connector=aiohttp.TCPConnector(
                    limit=0, limit_per_host=options.connections, ssl=_tls(options), socket_factory=self._socket
                ),
                # Waiting for a free connection counts as well: at twice the time the bound is felt.
                timeout=aiohttp.ClientTimeout(
                    total=options.timeout_s + options.connect_timeout_s, sock_connect=options.connect_timeout_s
                ),
                auto_decompress=False,
            )
        return self._session

    def _socket(self, address: AddrInfoType) -> socket.socket:
        family, kind, protocol, _, _ = address
        sock = socket.socket(family, kind, protocol)
        sock.setblocking(False)
        ended_when_silent(sock, self._options.silence_s)
        return sock

    def _failure(self, answer: _Answer) -> Exception:
        if answer.status == 500 or answer.body.startswith(b"Unknown bucket type"):
            said = answer.body.decode(errors="replace")
            lasting = refusal_of(said, self._options.bucket_type, f"Riak KV {answer.url}")
            if lasting is not None:
                return lasting
        if answer.status in (401, 403):
            return Rejected(
                f"Riak KV {answer.url} refused the user ({answer.says}): correct riak_kv.username and password"
            )
        if 400 <= answer.status < 500 and answer.status not in (404, 408, 409, 429):
            return Rejected(f"Riak KV {answer.url} refused a request: {answer.says}")
        if answer.knows_no_path:
            return Unavailable(
                f"Riak KV {answer.url} answers, but serves nothing: it starts or stops; see its console.log and "
                "`riak admin wait-for-service riak_kv`"
            )
        return Unavailable(f"Riak KV {answer.url} failed: {answer.says}: see `riak admin member-status`")


def _segment(text: str) -> str:
    """Of a path. Riak's server passes over empty ones: what comes behind would be taken for something else."""
    if not text:
        raise Rejected("Riak KV was to be asked for an empty name, which its HTTP interface has no words for")
    return _quoted(text)


def _quoted(text: str) -> str:
    return quote(text, safe="")


def _tls(options: RiakKvOptions) -> ssl.SSLContext | bool:
    if not any(url.startswith("https:") for url in options.endpoints):
        return True
    try:
        return ssl.create_default_context(cafile=options.ca_file)
    except (OSError, ValueError) as error:
        raise Rejected(f"cannot use the TLS file for Riak KV ({options.ca_file}): {error}") from error
