"""GetObject and HeadObject.

Conditions, ranges and response overrides are the gateway's own: Riak CS takes `bytes=-0` for a part
(range-suffix-zero), a malformed Range for an error (range-garbage), ignores If-Range (range-if-range) and response-*
parameters of SigV4 (get-response-overrides), and knows no partNumber (get-part-number).
"""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from typing import Any, Final

from controlplane.gateway.ranges import Wanted, wanted_range
from controlplane.gateway.reply_chunks import ReplyChunks
from controlplane.gateway.s3.answers import Fields, fields, object_fields, plain_lines
from controlplane.gateway.s3.authorise import Authoriser
from controlplane.gateway.s3.call import Call
from controlplane.gateway.s3.mirror_reads import MirrorReads
from controlplane.gateway.s3.object_notes import ObjectNotes
from controlplane.gateway.s3.stored_object import OnePart, checksum_fields, length_of, modified_at, part_of
from controlplane.http import Response, StreamBody
from controlplane.ports.errors import Unavailable
from controlplane.ports.upstream import Ask, Query, Reply
from controlplane.s3.conditions import Outcome, read_conditions
from controlplane.s3.dates import MalformedDate, parse_http_date
from controlplane.s3.etag import unquote_etag
from controlplane.s3.fault import Code, S3Fault
from controlplane.s3.own_metadata import WRITER
from controlplane.services.s3.buckets import Versioning
from controlplane.services.s3.latest import LatestVersions
from controlplane.services.s3.object_records import ObjectRecords
from controlplane.services.s3.refusals import refusal

_WHOLE_BELOW: Final = 256 * 1024
"""Bodies up to this are read before the answer begins: one write, and a broken one can still be 503."""
_CONDITIONS: Final = frozenset(
    {b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since", b"if-range"}
)
_SPECIAL: Final = _CONDITIONS | {b"range", b"x-amz-checksum-mode", b"origin"}


class ObjectReading:
    def __init__(
        self,
        authoriser: Authoriser,
        latest: LatestVersions,
        notes: ObjectNotes,
        records: ObjectRecords,
        mirror: MirrorReads,
    ) -> None:
        self._authoriser = authoriser
        self._latest = latest
        self._notes = notes
        self._records = records
        self._mirror = mirror

    def get(self, call: Call) -> Coroutine[Any, Any, Response]:
        """Raises S3Fault, Unavailable."""
        if not call.query and not call.has_any(_SPECIAL) and call.bucket_facts.versioning is not Versioning.ENABLED:
            return self._get_plainly(call)
        return self._get(call)

    async def _get(self, call: Call) -> Response:
        request = call.request
        query = await self._version(call)
        headers: dict[str, str] = {}
        wanted = _wanted_range(call)
        conditional = call.has_any(_CONDITIONS)
        part = call.number("partNumber", 1, 10_000)
        one: OnePart | None = None
        if conditional or part is not None or (wanted is not None and wanted.nothing):
            found = await self._look(call, query)
            if conditional:
                if (answer := self._judged(call, found)) is not None:
                    return answer
                if not _if_range_holds(call, found):
                    wanted = None
            if wanted is not None and wanted.nothing:
                raise _unsatisfiable(found)
            if part is not None:
                if wanted is not None:
                    raise S3Fault(Code.INVALID_REQUEST, "Range and partNumber exclude each other.")
                one = part_of(found, await self._records.sums_of(call.bucket, call.key, found), part)
                wanted = one.wanted
            headers["if-match"] = found.get("etag", "*")
        if wanted is not None:
            headers["range"] = str(wanted)
        method = "HEAD" if request.method == "HEAD" else "GET"
        reply = await self._send(call, call.ask(method, query=query, headers=headers))
        if reply.status == 416:
            reply.close()
            raise _unsatisfiable(await self._look(call, query))
        if reply.status not in (200, 206):
            raise await self._missing(call, reply)
        return await self._answer(call, reply, one)

    async def _get_plainly(self, call: Call) -> Response:
        """A request that asks for nothing but the object: most are. The same answer with less work."""
        request = call.request
        ask = call.ask("HEAD" if request.method == "HEAD" else "GET")
        reply = await self._mirror.send(call, ask, call.bucket_facts)
        if WRITER in reply.headers:
            await self._check_writer(call, ask, reply)
        if reply.status != 200:
            raise await self._missing(call, reply)
        found = reply.headers
        size = length_of(found)
        lines = plain_lines(request, found) if self._notes.nothing(call) else None
        if lines is None or size is None or size > _WHOLE_BELOW:
            return await self._answer(call, reply)
        if request.method == "HEAD":
            reply.close()
            return Response(200, lines, head_length=size)
        return Response(200, lines, await _whole_body(reply, size))

    async def look(self, call: Call) -> Mapping[str, str]:
        """The headers of the object, its latest version when none is named. Raises S3Fault, Unavailable."""
        return await self._look(call, await self._version(call))

    async def _answer(self, call: Call, reply: Reply, part: OnePart | None = None) -> Response:
        request, found = call.request, reply.headers
        mode = call.header(b"x-amz-checksum-mode")
        checked = mode is not None and mode.upper() == b"ENABLED"
        size = length_of(found)
        try:
            headers = object_fields(request, found)
            if part is not None:
                headers += part.fields(checked=checked)
            elif checked and reply.status == 200:
                headers += checksum_fields((await self._records.sums_of(call.bucket, call.key, found)).checksum)
            _override(call, headers)
            if not self._notes.nothing(call):
                headers += await self._notes.of_read(call, found, _whole(found), modified_at(found))
        except BaseException:
            reply.close()
            raise
        if request.method == "HEAD":
            reply.close()
            if size is None:
                raise Unavailable("Riak CS answered HEAD without a Content-Length")
            return Response(reply.status, headers, head_length=size)
        if size is not None and size <= _WHOLE_BELOW:
            return Response(reply.status, headers, await _whole_body(reply, size))
        return Response(reply.status, headers, StreamBody(ReplyChunks(reply), size))

    async def _look(self, call: Call, query: Query) -> Mapping[str, str]:
        """The headers of the object."""
        reply = await self._send(call, call.ask("HEAD", query=query))
        if reply.status != 200:
            raise await self._missing(call, reply)
        reply.close()
        return reply.headers

    async def _send(self, call: Call, ask: Ask) -> Reply:
        reply = await self._mirror.send(call, ask, call.bucket_facts)
        if WRITER in reply.headers:
            await self._check_writer(call, ask, reply)
        return reply

    async def _check_writer(self, call: Call, ask: Ask, reply: Reply) -> None:
        try:
            version = call.parameter("versionId")
            await self._authoriser.check_writer(call, ask, version, call.bucket_facts, reply.headers)
        except BaseException:
            reply.close()
            raise

    async def _missing(self, call: Call, reply: Reply) -> S3Fault:
        """Whoever may not list the bucket does not learn what is not in it."""
        if reply.status == 412:
            reply.close()
            return S3Fault(Code.CONDITIONAL_REQUEST_CONFLICT, "The object changed while it was read; try again.")
        fault = await refusal(reply, key=True)
        if fault.status == 404 and call.operation.value in _HIDING and not self._authoriser.may_list(call):
            return S3Fault(Code.ACCESS_DENIED)
        if call.request.method == "HEAD" and fault.code is Code.NO_SUCH_BUCKET:
            return S3Fault(Code.NO_SUCH_KEY)
        return fault

    async def _version(self, call: Call) -> Query:
        version = call.parameter("versionId")
        return await self._latest.query(call.bucket, call.key, version, call.bucket_facts, call.signer)

    def _judged(self, call: Call, found: Mapping[str, str]) -> Response | None:
        """304, 412, or None: go on."""
        conditions = read_conditions(call.fields)
        etag = unquote_etag(found.get("etag", ""))
        match conditions.judge(etag, modified_at(found)):
            case Outcome.NOT_MODIFIED:
                kept = (b"etag", b"last-modified", b"cache-control", b"expires")
                headers = [field for field in object_fields(call.request, found) if field[0] in kept]
                return Response(304, [*fields(call.request), *headers])
            case Outcome.FAILED:
                raise S3Fault(Code.PRECONDITION_FAILED)
            case Outcome.SERVE:
                return None


_HIDING: Final = frozenset({"GetObject", "HeadObject", "GetObjectAttributes"})


async def _whole_body(reply: Reply, size: int) -> bytes:
    try:
        body = await reply.read_all(_WHOLE_BELOW)
    finally:
        reply.close()
    if len(body) != size:
        raise Unavailable(f"Riak CS sent {len(body)} of {size} bytes")
    return body


def _wanted_range(call: Call) -> Wanted | None:
    """None when there is none, or one that a server may ignore (several, another unit)."""
    given = call.header(b"range")
    return None if given is None else wanted_range(given.decode("latin-1"))


def _if_range_holds(call: Call, found: Mapping[str, str]) -> bool:
    given = call.header(b"if-range")
    if given is None:
        return True
    text = given.decode("latin-1").strip()
    if text.startswith(('"', "W/")):
        return text == found.get("etag")
    try:
        return parse_http_date(text) == modified_at(found)
    except MalformedDate:
        return False


def _unsatisfiable(found: Mapping[str, str]) -> S3Fault:
    size = found.get("content-length", "*")
    return S3Fault(
        Code.INVALID_RANGE,
        extra=(("ActualObjectSize", size),),
        headers=((b"content-range", b"bytes */" + size.encode()),),
    )


def _whole(found: Mapping[str, str]) -> int | None:
    """Bytes of the object, of which a part may be on its way."""
    total = found.get("content-range", "").rpartition("/")[2]
    return int(total) if total.isascii() and total.isdigit() else length_of(found)


def _override(call: Call, headers: Fields) -> None:
    """response-content-type and its like; only for signed requests, as S3 has it."""
    for name, value in call.query:
        if name.startswith("response-"):
            if call.account is None:
                raise S3Fault(Code.INVALID_REQUEST, "Anonymous requests cannot set response headers.")
            target = name.removeprefix("response-").encode("latin-1", "replace")
            if any(ord(character) < 32 or ord(character) == 127 for character in value):
                raise S3Fault(Code.INVALID_ARGUMENT, f"{name} has a control character.")
            headers[:] = [field for field in headers if field[0] != target]
            headers.append((target, value.encode()))
