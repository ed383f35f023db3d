"""Riak KV by protocol buffers. One request at a time on a connection; idle connections are used again."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from controlplane.adapters.peer_host import ended_when_silent
from controlplane.adapters.riak_kv.kv import STRICT, Fetched, Indexes, IndexPage, Quorum
from controlplane.adapters.riak_kv.nodes import Nodes
from controlplane.adapters.riak_kv.options import RiakKvOptions
from controlplane.adapters.riak_kv.refusals import DEFAULT_TYPE, no_siblings, refusal_of
from controlplane.adapters.riak_pb import messages as pb
from controlplane.ports.clock import Clock
from controlplane.ports.errors import Conflict, Unavailable

_MOST_ANSWER_BYTES: Final = 128 << 20
_Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Refused(Exception):
    """Riak's own error message, whole."""


class _Broken(Exception):
    """The connection, or what came over it."""


class RiakPb:
    """See the protocol RiakKv. As the HTTP client it asks another node when one fails."""

    def __init__(self, options: RiakKvOptions, clock: Clock) -> None:
        """`options.endpoints`: host:port of each node. Raises Rejected when the riak package is not installed."""
        self._kv, self._general = pb.messages()
        self._options = options
        self._clock = clock
        self._nodes = Nodes(options.endpoints)
        self._idle: dict[str, list[_Connection]] = {place: [] for place in options.endpoints}
        self._busy: set[asyncio.StreamWriter] = set()
        self._turns = {place: asyncio.Semaphore(options.connections) for place in options.endpoints}
        self._under_way = 0
        self._closed = False
        self._with_siblings: set[str] = set()
        self._type_is_there = False
        kind = options.bucket_type
        self._typed = {} if kind == DEFAULT_TYPE else {"type": kind.encode()}

    async def fetch(self, bucket: str, key: str, quorum: Quorum = STRICT) -> Fetched:
        request = self._kv.RpbGetReq(
            **self._typed,
            bucket=bucket.encode(),
            key=key.encode(),
            r=pb.quorum_number(quorum.replicas),
            pr=pb.quorum_number(quorum.primaries),
            notfound_ok=quorum.not_found_counts,
            deletedvclock=True,
            timeout=self._timeout_ms,
        )
        answer = self._parsed(self._kv.RpbGetResp(), await self._ask(pb.GET, request, pb.GET_RESP))
        return Fetched(tuple(content.value for content in answer.content if not content.deleted), answer.vclock)

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
        request = self._kv.RpbPutReq(
            **self._typed,
            bucket=bucket.encode(),
            key=key.encode(),
            w=pb.quorum_number(quorum.replicas),
            dw=pb.quorum_number(quorum.replicas),
            pw=pb.quorum_number(quorum.primaries),
            timeout=self._timeout_ms,
        )
        if quorum.keeps_all:
            await self.require_siblings(bucket)
        request.content.value = value
        request.content.content_type = b"application/octet-stream"
        for field, term in indexes:
            request.content.indexes.add(key=field.encode(), value=term.encode())
        if clock:
            request.vclock = clock
        if if_absent:
            request.if_none_match = True
        try:
            await self._ask(pb.PUT, request, pb.PUT_RESP)
        except _Refused as error:
            raise Conflict(f"Riak KV has a value under {key} already") from error

    async def delete(self, bucket: str, key: str, clock: bytes, quorum: Quorum = STRICT) -> None:
        request = self._kv.RpbDelReq(
            **self._typed,
            bucket=bucket.encode(),
            key=key.encode(),
            r=pb.quorum_number(quorum.replicas),
            w=pb.quorum_number(quorum.replicas),
            dw=pb.quorum_number(quorum.replicas),
            pw=pb.quorum_number(quorum.primaries),
            timeout=self._timeout_ms,
        )
        if clock:
            request.vclock = clock
        await self._ask(pb.DEL, request, pb.DEL_RESP)

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
        request = self._kv.RpbIndexReq(
            **self._typed,
            bucket=bucket.encode(),
            index=field.encode(),
            qtype=self._kv.RpbIndexReq.range,
            range_min=low.encode(),
            range_max=high.encode(),
            return_terms=True,
            max_results=limit,
            timeout=self._timeout_ms,
        )
        if continuation:
            request.continuation = continuation
        if regex:
            request.term_regex = regex.encode()
        answer = self._parsed(self._kv.RpbIndexResp(), await self._ask(pb.INDEX, request, pb.INDEX_RESP))
        try:
            rows = tuple((pair.key.decode(), pair.value.decode()) for pair in answer.results)
        except UnicodeDecodeError as error:
            raise Unavailable("Riak KV answered an index query with what nobody here wrote") from error
        return IndexPage(rows, answer.continuation)

    async def ping(self) -> None:
        await self._ask(pb.PING, None, pb.PING_RESP)

    async def aclose(self) -> None:
        """Later calls raise Unavailable. Idempotent."""
        self._closed = True
        writers = [writer for idle in self._idle.values() for _, writer in idle] + list(self._busy)
        self._idle = {place: [] for place in self._idle}
        for writer in writers:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for writer in writers), return_exceptions=True)

    # -- one request --------------------------------------------------------------------------------------------------

    async def require_siblings(self, bucket: str) -> None:
        """See the protocol. Asked once a bucket."""
        if bucket in self._with_siblings:
            return
        request = self._general.RpbGetBucketReq(bucket=bucket.encode(), **self._typed)
        body = await self._ask(pb.BUCKET, request, pb.BUCKET_RESP)
        found = self._parsed(self._general.RpbGetBucketResp(), body).props
        if not found.allow_mult or found.last_write_wins:
            raise no_siblings(self._options.bucket_type, bucket, "Riak KV")
        self._with_siblings.add(bucket)

    @property
    def _timeout_ms(self) -> int:
        return int(self._options.timeout_s * 1000)

    async def _ask(self, code: int, request: Any, expected: int) -> bytes:
        """Raises _Refused when a condition does not hold.

        A bucket type is asked for once, before the first request: what reads an object of one that does not exist
        crashes within Riak, which answers "timeout" (riak_kv_get_fsm.erl, prepare/2); its properties are not there in
        words (riak_kv_pb_bucket.erl)."""
        if self._typed and not self._type_is_there and code not in (pb.PING, pb.BUCKET):
            about = self._general.RpbGetBucketReq(bucket=b"type", **self._typed)
            await self._ask(pb.BUCKET, about, pb.BUCKET_RESP)
            self._type_is_there = True
        if self._closed:
            raise Unavailable("the connections to Riak KV are closed: this process is stopping")
        if self._under_way >= self._options.waiting:
            raise Unavailable(
                f"{self._under_way} requests to Riak KV are under way or waiting, the most there may be: pushed back",
                retry_after=1.0,
            )
        payload = b"" if request is None else request.SerializeToString()
        frame = (len(payload) + 1).to_bytes(4, "big") + bytes([code]) + payload
        self._under_way += 1
        failures: list[str] = []
        try:
            for place in self._nodes.order(self._clock.monotonic()):
                try:
                    async with self._turns[place]:
                        answer, body = await self._exchange(place, frame)
                except (OSError, TimeoutError, _Broken, asyncio.IncompleteReadError) as error:
                    self._nodes.failed(place, self._clock.monotonic())
                    failures.append(f"{place}: {str(error) or 'no answer in time'}")
                    continue
                self._nodes.answered(place)
                if answer == expected:
                    return body
                failures.append(f"{place}: {self._refusal(answer, body)}")
        finally:
            self._under_way -= 1
        raise Unavailable(f"no node of Riak KV answers ({'; '.join(failures)}): see `riak admin member-status`")

    def _refusal(self, code: int, body: bytes) -> str:
        """What Riak said is wrong with a node. Raises when it is wrong with the request."""
        if code != pb.ERROR:
            return f"answered with message {code}"
        said: str = self._parsed(self._general.RpbErrorResp(), body).errmsg.decode(errors="replace")
        if "match_found" in said:
            raise _Refused(said)
        lasting = refusal_of(said, self._options.bucket_type, "Riak KV")
        if lasting is not None:
            raise lasting
        return said

    async def _exchange(self, place: str, frame: bytes) -> tuple[int, bytes]:
        """On an idle connection, or a new one; a used one that was closed meanwhile is replaced once."""
        idle = self._idle[place]
        used = idle.pop() if idle else None
        if used is not None:
            try:
                return await self._over(place, used, frame)
            except (ConnectionError, asyncio.IncompleteReadError):
                pass  # ended while it was idle
        host, _, port = place.rpartition(":")
        async with asyncio.timeout(self._options.connect_timeout_s):
            fresh = await asyncio.open_connection(host.strip("[]"), int(port))
        ended_when_silent(fresh[1].get_extra_info("socket"), self._options.silence_s)
        return await self._over(place, fresh, frame)

    async def _over(self, place: str, connection: _Connection, frame: bytes) -> tuple[int, bytes]:
        reader, writer = connection
        self._busy.add(writer)
        whole = False
        try:
            async with asyncio.timeout(self._options.timeout_s):
                writer.write(frame)
                await writer.drain()
                size = int.from_bytes(await reader.readexactly(4), "big")
                if not 1 <= size <= _MOST_ANSWER_BYTES:
                    raise _Broken(f"announced an answer of {size} bytes")
                answer = await reader.readexactly(size)
            whole = True
            return answer[0], answer[1:]
        finally:
            self._busy.discard(writer)
            if whole and not self._closed:
                self._idle[place].append(connection)
            else:
                writer.close()

    def _parsed(self, message: Any, body: bytes) -> Any:
        try:
            message.ParseFromString(body)
        except Exception as error:  # the library's DecodeError, and whatever it lets through
            raise Unavailable("Riak KV answered with what is not its message") from error
        return message
