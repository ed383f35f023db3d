"""Objects that Riak CS does not have, from the mirror's target; implements ports.read_through.ReadThrough.

One fetch however many ask, here, at the gateway's other workers and at other gateways (fetch_sharing.py): they follow
it while it arrives, its last bytes held back until the whole is proved. A range is passed through as it is: a part
proves nothing by itself.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from functools import partial
from hashlib import sha256
from typing import Final

from controlplane.model.content import Content
from controlplane.model.copy_record import CopyRecord, decode_copy_record
from controlplane.model.keys import Bucket, Key, StoreName
from controlplane.model.mirror_rules import AclCarried, MirrorRule, covering
from controlplane.ports.bucket_stores import BucketStores
from controlplane.ports.errors import Corrupt, MillraceError, NotFound, Unavailable
from controlplane.ports.object_store import ByteRange, LocalFile, ObjectInfo, ObjectReader, ObjectStore
from controlplane.ports.peers import Asker
from controlplane.ports.spool import Spool, Spooled
from controlplane.ports.upstream import Ask, KeyPair, Reply, Upstream
from controlplane.s3.access.acl_note import CARRIED, PRIVATE
from controlplane.s3.etag import unquote_etag
from controlplane.s3.fault import S3Fault
from controlplane.s3.sigv2 import http_date
from controlplane.services.fetch import Fetch, Source
from controlplane.services.fetch_sharing import FetchSharing, brought_by_another
from controlplane.services.fill_fence import FILL_AT_MOST_S, FillFence
from controlplane.services.object_replies import Streamed, Told
from controlplane.services.object_tombstones import ObjectTombstones
from controlplane.services.s3.object_records import ObjectRecords

log = logging.getLogger(__name__)

_PIECE: Final = 256 * 1024
_RANGE: Final = re.compile(r"bytes=(\d*)-(\d*)\Z")
_Place = tuple[Bucket, Key]
_Deleted = Callable[[Bucket, Key], Awaitable[bool]]


class ObjectReadThrough:
    def __init__(
        self,
        rules: Sequence[MirrorRule],
        *,
        targets: Mapping[str, BucketStores],
        tombstones: ObjectTombstones,
        upstream: Upstream,
        fence: FillFence,
        spool: Spool,
        records: ObjectRecords,
        sharing: FetchSharing,
    ) -> None:
        """`records`: where tags of what is put back are kept. `sharing`: with whom a fetch is."""
        self._rules = tuple(rule for rule in rules if rule.read_through)
        self._targets = targets
        self._tombstones = tombstones
        self._upstream = upstream
        self._fence = fence
        self._spool = spool
        self._records = records
        self._sharing = sharing
        self._fetches: dict[str, Fetch] = {}
        """By name (ports.peers)."""
        self._tasks: set[asyncio.Task[None]] = set()

    def covers(self, bucket: str, key: str) -> bool:
        return bool(covering(self._rules, Bucket(bucket), Key(key)))

    async def send(self, ask: Ask, owner: KeyPair | None) -> Reply | None:
        """See the port."""
        place = Bucket(ask.bucket), Key(ask.key)
        if not self.covers(*place):
            return None
        # Before the target is asked: what is deleted after this look may still be read as of before.
        if await self._tombstones.has(*place):
            return None
        found = await self._look(place)
        if found is None:
            return None
        store, info = found
        record = _record(info)
        wanted = ask.headers.get("if-match")
        if wanted is not None and wanted != "*" and unquote_etag(wanted) != record.etag:
            return Told(412, {})
        headers = _headers(info, record)
        part = _part(ask.headers.get("range"), info.size)
        if part is _OUTSIDE:
            return Told(416, {"content-range": f"bytes */{info.size}"})
        if part is not None:
            headers["content-range"] = f"bytes {part.first}-{part.last}/{info.size}"
            headers["content-length"] = str(part.length)
        status = 200 if part is None else 206
        if ask.method == "HEAD":
            return Told(status, headers)
        if part is not None or info.size == 0:
            return await self._passed_on(store, place, info, part, status, headers)
        return await self._fetched(ask, store, place, info, owner, headers)

    async def bring_back(self, bucket: Bucket, key: Key, owner: KeyPair, *, is_deleted: _Deleted | None = None) -> bool:
        """Put the copy back into Riak CS without anybody having asked for it. False: it was deleted, no target has it,
        or Riak CS has it by now. `is_deleted`: who else than tombstones knows of deletes. Raises Unavailable,
        Rejected, Corrupt, StorageFull; TimeoutError after FILL_AT_MOST_S."""
        place = bucket, key
        if not self.covers(*place) or await self._is_deleted(place, is_deleted):
            return False
        found = await self._look(place)
        if found is None:
            return False
        store, info = found
        spooled = await self._spooled(store, place, info)
        try:
            async with self._fence.filling(bucket, key) as free, asyncio.timeout(FILL_AT_MOST_S):
                if not free:
                    raise Unavailable(
                        f"{bucket}/{key} is written or put back at this moment, or who did that was killed in the last "
                        "6 minutes: run the same command again then"
                    )
                if not await self._may_fill(place, owner):
                    return False
                await self._put_back(place, owner, info, spooled)
                return await self._unless_deleted(store, place, owner, spooled.content, is_deleted)
        finally:
            spooled.discard()

    async def _is_deleted(self, place: _Place, is_deleted: _Deleted | None) -> bool:
        return await self._tombstones.has(*place) or (is_deleted is not None and await is_deleted(*place))

    async def _spooled(self, store: ObjectStore, place: _Place, info: ObjectInfo) -> Spooled:
        """All bytes of the copy, proved."""
        reader = await store.get(place[1])
        writer = self._spool.open(reader.length)
        try:
            if reader.info.etag != info.etag:
                raise Unavailable(f"{place[1]} in {store.name} changed while it was read")
            async for chunk in reader:
                await writer.write(chunk)
            spooled = await writer.finish()
        except BaseException:
            writer.discard()
            raise
        finally:
            await reader.aclose()
        try:
            _check(f"{place[0]}/{place[1]}", info.content, spooled.content, store.name)
        except Corrupt:
            spooled.discard()
            raise
        return spooled

    async def aclose(self) -> None:
        """Let the fetches and fills under way end."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _look(self, place: _Place) -> tuple[ObjectStore, ObjectInfo] | None:
        """The first target that has it. One that cannot be asked hides what it may have: then nobody knows (I5)."""
        bucket, key = place
        away: Unavailable | None = None
        for rule in covering(self._rules, bucket, key):
            store = self._targets[rule.target].store(bucket)
            try:
                return store, await store.head(key)
            except NotFound:
                continue
            except Unavailable as error:
                away = error
        if away is not None:
            raise away
        return None

    async def _passed_on(
        self,
        store: ObjectStore,
        place: _Place,
        info: ObjectInfo,
        part: ByteRange | None,
        status: int,
        headers: dict[str, str],
    ) -> Reply | None:
        try:
            reader = await store.get(place[1], byte_range=part)
        except NotFound:
            return None
        if reader.info.etag != info.etag:
            await reader.aclose()
            raise Unavailable(f"{place[1]} in {store.name} changed while it was read")
        return Streamed(status, headers, aiter(reader), reader.length, lambda: self._spawn(reader.aclose()))

    async def open_shown(self, name: str, asker: Asker) -> tuple[ObjectInfo, Streamed]:
        """For others: what is being fetched here, as it arrives. Raises NotFound when it is not."""
        fetch = self._fetches.get(name)
        if fetch is None or not self._sharing.shows(name, asker):
            raise NotFound(f"{name} is not being fetched here")
        try:
            await fetch.opened()
        except _Landed as error:
            raise NotFound(f"{name} is not being fetched here any more") from error
        info = fetch.info
        assert info is not None
        return info, Streamed(200, {}, fetch.chunks(ByteRange(0, info.size - 1)), info.size, fetch.leave)

    async def _fetched(
        self,
        ask: Ask,
        store: ObjectStore,
        place: _Place,
        info: ObjectInfo,
        owner: KeyPair | None,
        headers: dict[str, str],
    ) -> Reply | None:
        fetch = self._fetches.get(_name(place)) or self._start(store, place, info, owner)
        try:
            await fetch.opened()
        except NotFound:
            return None
        except _Landed:
            reply = await self._upstream.send(ask)
            if reply.status != 404:
                return reply
            reply.close()
            return None
        if fetch.info is not None and fetch.info.etag != info.etag:
            fetch.leave()
            raise Unavailable(f"{place[1]} in {store.name} changed while it was read")
        return Streamed(200, headers, fetch.chunks(ByteRange(0, info.size - 1)), info.size, fetch.leave)

    def _start(self, store: ObjectStore, place: _Place, info: ObjectInfo, owner: KeyPair | None) -> Fetch:
        name = _name(place)

        async def landed() -> Source | None:
            reply = await self._upstream.send(Ask("HEAD", owner, *place))
            reply.close()
            if reply.status == 200:
                raise _Landed(f"{what} is in Riak CS by now")
            return None

        async def resume(offset: int) -> ObjectReader:
            rest = ByteRange(offset, info.size - 1) if offset else None
            reader = await store.get(place[1], byte_range=rest)
            if reader.info.etag != info.etag:
                await reader.aclose()
                raise Unavailable(f"{place[1]} in {store.name} changed while it was read")
            return reader

        async def locate() -> Source:
            if self._sharing.alone:
                await landed()  # by the fetch before this one
            found = await self._sharing.find(name, landed, resume, None)
            return found or Source(store.name, await store.get(place[1]), None, None)

        async def keep(source: Source, spooled: Spooled) -> None:
            if owner is not None and not brought_by_another(source):
                await self._fill(store, place, owner, source.reader.info, spooled)

        what = f"{place[0]}/{place[1]}"
        check = partial(_check, what)
        fetch = self._fetches[name] = Fetch(what, self._spool, locate, keep, check)

        async def run() -> None:
            try:
                await fetch.run()
            finally:
                del self._fetches[name]
                await self._sharing.release(name)
            if fetch.is_corrupt:
                log.error("%s; write the object again, or repair the copy", fetch.failure)

        self._spawn(run())
        return fetch

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # Back into Riak CS

    async def _fill(
        self, store: ObjectStore, place: _Place, owner: KeyPair, info: ObjectInfo, spooled: Spooled
    ) -> None:
        """Never raises a MillraceError: the readers have their answer."""
        bucket, key = place
        try:
            async with self._fence.filling(bucket, key) as free, asyncio.timeout(FILL_AT_MOST_S):
                if free and await self._may_fill(place, owner):
                    await self._put_back(place, owner, info, spooled)
                    await self._unless_deleted(store, place, owner, spooled.content)
        except (MillraceError, TimeoutError) as error:
            why = str(error) or f"Riak CS had not taken it after {FILL_AT_MOST_S:g} s"
            log.warning("%s/%s was served from %s, but not put back into Riak CS: %s", bucket, key, store.name, why)

    async def _may_fill(self, place: _Place, owner: KeyPair) -> bool:
        """Whether Riak CS still lacks it, and nobody deleted it meanwhile."""
        if await self._tombstones.has(*place):
            return False
        reply = await self._upstream.send(Ask("HEAD", owner, *place))
        reply.close()
        return reply.status == 404

    async def _put_back(self, place: _Place, owner: KeyPair, info: ObjectInfo, spooled: Spooled) -> None:
        record = _record(info)
        headers = _stored_headers(info, record) | self._acl(place, record)
        content = spooled.content
        body = spooled.body
        sent: bytes | AsyncIterator[bytes] = body if isinstance(body, bytes) else _pieces(body)
        reply = await self._upstream.send(Ask("PUT", owner, *place, headers=headers, body=sent, length=content.size))
        reply.close()
        etag = unquote_etag(reply.headers.get("etag", ""))
        if reply.status != 200:
            raise Unavailable(f"Riak CS answered {reply.status} to the PUT of {place[0]}/{place[1]}")
        if etag != content.md5:
            await self._take_back(place, owner)
            raise Corrupt(f"Riak CS stored {place[0]}/{place[1]} with ETag {etag}, sent was {content.md5}")
        await self._put_tags_back(place, owner, record, content)

    def _acl(self, place: _Place, record: CopyRecord) -> dict[str, str]:
        """Under a rule that carries ACLs: the canned one of the lost object, in force with its first byte. Others are
        the owner's to give again; until then the object is private."""
        if not record.acl or all(rule.acl is not AclCarried.CANNED for rule in covering(self._rules, *place)):
            return {}
        if record.acl in CARRIED:
            return {"x-amz-acl": record.acl}
        if record.acl != PRIVATE:
            log.warning("%s/%s is put back without its ACL, private: its grants were %s", *place, record.acl)
        return {}

    async def _put_tags_back(self, place: _Place, owner: KeyPair, record: CopyRecord, content: Content) -> None:
        """Raises Unavailable after the object was taken back: without its tags it would stay so for ever, since nobody
        asks the target any more."""
        what = f"{place[0]}/{place[1]}"
        if record.tags_left:
            log.warning("%s is put back without its tags: its copy had no room for them; set them again", what)
        was = {"etag": f'"{record.etag}"', "last-modified": http_date(int(record.modified_at))}
        try:
            await self._records.put_back(*place, content.md5, was, record.tags)
        except (MillraceError, S3Fault) as error:
            await self._take_back_own(place, owner, content)
            raise Unavailable(f"{what} was taken back, since its tags could not be kept: {error}") from error

    async def _unless_deleted(
        self,
        store: ObjectStore,
        place: _Place,
        owner: KeyPair,
        content: Content,
        is_deleted: _Deleted | None = None,
    ) -> bool:
        """A delete through another gateway does not wait for this fill; it may even have gone all its way (I4). False:
        it was taken back."""
        if not await self._is_deleted(place, is_deleted):
            try:
                await store.head(place[1])
                return True
            except NotFound:
                pass
        await self._take_back_own(place, owner, content)
        return False

    async def _take_back_own(self, place: _Place, owner: KeyPair, content: Content) -> None:
        """Remove what this fill has put, unless something else is there by now."""
        reply = await self._upstream.send(Ask("HEAD", owner, *place))
        reply.close()
        if unquote_etag(reply.headers.get("etag", "")) == content.md5:
            await self._take_back(place, owner)

    async def _take_back(self, place: _Place, owner: KeyPair) -> None:
        (await self._upstream.send(Ask("DELETE", owner, *place))).close()


class _Landed(Unavailable):
    """An earlier fetch, of another worker or gateway, has put it into Riak CS since Riak CS was asked."""


def _name(place: _Place) -> str:
    """Of ports.peers."""
    bucket, key = place
    return f"objects/{sha256(f'{bucket}/{key}'.encode('utf-8', 'surrogateescape')).hexdigest()}"


def _record(info: ObjectInfo) -> CopyRecord:
    """What the copy says of its source; of an object that no mirror made, what it is itself."""
    said = decode_copy_record(info.metadata)
    return said or CopyRecord(info.etag, info.modified_at, info.metadata, info.headers)


def _check(what: str, claimed: Content | None, found: Content, store: StoreName) -> None:
    if claimed is not None and claimed != found:
        raise Corrupt(
            f"the copy of {what} in {store} is damaged: its bytes have MD5 {found.md5}, {found.size} bytes, it claims "
            f"MD5 {claimed.md5}, {claimed.size} bytes; the last of it was not served"
        )


def _headers(info: ObjectInfo, record: CopyRecord) -> dict[str, str]:
    """As Riak CS would answer."""
    return {
        "etag": f'"{record.etag}"',
        "last-modified": http_date(int(record.modified_at)),
        "accept-ranges": "bytes",
        "content-length": str(info.size),
        **_stored_headers(info, record),
    }


def _stored_headers(info: ObjectInfo, record: CopyRecord) -> dict[str, str]:
    """As the object was stored."""
    meta = {f"x-amz-meta-{name}": value for name, value in record.metadata.items()}
    return {"content-type": info.content_type, **record.headers, **meta}


_OUTSIDE: Final = ByteRange(0, -1)


def _part(header: str | None, size: int) -> ByteRange | None:
    """The bytes that a Range asks for; None: all of them; _OUTSIDE: none that there are. Other forms are ignored."""
    matched = _RANGE.match(header or "")
    if matched is None or matched[0] == "bytes=-":
        return None
    first, last = matched.groups()
    if not first:
        length = min(int(last), size)
        return ByteRange(size - length, size - 1) if length else _OUTSIDE
    if int(first) >= size:
        return _OUTSIDE
    end = min(int(last), size - 1) if last else size - 1
    return ByteRange(int(first), end) if end >= int(first) else None


async def _pieces(file: LocalFile) -> AsyncIterator[bytes]:
    def read(offset: int) -> bytes:
        with open(file.path, "rb") as opened:
            opened.seek(offset)
            return opened.read(_PIECE)

    offset = 0
    while offset < file.size:
        piece = await asyncio.to_thread(read, offset)
        if not piece:
            raise Unavailable(f"{file.path} is shorter than it was")
        offset += len(piece)
        yield piece
