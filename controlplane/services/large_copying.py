"""Large objects, copied by ranges into uploads that outlive restarts (docs/decisions/0007-copy-engine.md).

The source is read twice. The first reading finds both digests, which have to be known when the upload begins since they
are stored beside the object (I9), and the MD5 of every part. The second moves the parts, several at once and in any
order; the target must name the MD5 of each. So whatever goes up is, byte by byte, what was digested, and a restart
neither reads nor sends again what the target has.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

from controlplane.model.content import Content, Md5, Sha256
from controlplane.model.pace import Side
from controlplane.model.task import Draft
from controlplane.ports.clock import Clock
from controlplane.ports.errors import BrokenOff, Corrupt, MillraceError, NotFound, Throttled, Unavailable
from controlplane.ports.fault_points import reach
from controlplane.ports.object_store import ByteRange, ObjectInfo, ObjectReader, ObjectStore, pieces_of
from controlplane.ports.part_store import Part, PartStore
from controlplane.ports.server_copy import ServerCopy
from controlplane.ports.upload_ledger import Upload, UploadLedger
from controlplane.s3.etag import is_md5
from controlplane.services.answer_times import Moving, unwatched
from controlplane.services.part_buffers import PartBuffers

log = logging.getLogger(__name__)

MOST_PARTS: Final = 10_000
"""Of one upload, in every S3 server."""
_MIB: Final = 1 << 20
_HASHED_AT_ONCE: Final = 512 * 1024
_SEQ: Final = "millrace-seq"
_TELL_EVERY_S: Final = 600.0


class LargeCopier:
    """At most `buffers` parts are in memory at once, whatever the number of objects.

    Invariants: a part is sent only as bytes of the very version that was digested, and an upload is completed only when
    the target has named the MD5 of every part (I1). Nothing is visible before that: an overwrite replaces the old copy
    in one step. Every step may be repeated after a crash; an upload that is in the ledger is continued or aborted.
    """

    def __init__(
        self,
        ledger: UploadLedger,
        clock: Clock,
        *,
        above_bytes: int,
        buffers: int,
        admit: Callable[[str, int, int], Awaitable[bool]],
        moving: Moving = unwatched,
        tell_every_s: float = _TELL_EVERY_S,
    ) -> None:
        """`admit(rule, requests, bytes)` waits for a rule's turn; False: the process is to stop. `moving` is around
        every range that is read, and every part that is sent. `tell_every_s`: how often the ledger is told that an
        upload is under way, or it would be taken for abandoned in the middle."""
        self.above_bytes = above_bytes
        """Objects larger than this are for this copier."""
        self._ledger = ledger
        self._clock = clock
        self._buffers = asyncio.Semaphore(buffers)
        self._at_once = buffers
        self._taking = asyncio.Lock()
        self._memory = PartBuffers()
        self._admit = admit
        self._moving = moving
        self._tell_every_s = tell_every_s
        self._told_at: dict[str, float] = {}
        """Unix seconds, by the ids of uploads under way."""

    async def copy(
        self,
        draft: Draft,
        source: ObjectStore,
        info: ObjectInfo,
        parts: PartStore,
        metadata: Mapping[str, str],
        *,
        promised: Content | None = None,
        if_absent: bool = False,
        if_match: str | None = None,
        at_service: ServerCopy | None = None,
    ) -> tuple[ObjectInfo, Content]:
        """Bring the version `info` of the source; what the target says of it, and its digests. `promised`: what they
        must be. `at_service`: moves the parts where both ends are one service. Raises Unavailable (also when the
        source changes meanwhile: what was sent is kept), Corrupt, Conflict (what was sent is kept, too), Rejected,
        NotFound (gone from the source)."""
        version = _version(info, metadata)
        upload = await self._known(draft, version, parts)
        if upload is None:
            upload = await self._begin(draft, source, info, version, parts, metadata, promised)
        have = await self._arrived(upload, info.size, parts)
        if have is None:
            # Aborted by somebody else, a lifecycle rule for instance.
            await self._ledger.forget(draft.rule, draft.bucket, draft.key)
            raise Unavailable(f"the target lost the parts of {draft.bucket}/{draft.key}: it is copied anew", 1.0)
        missing = [number for number in range(1, len(upload.part_md5s) + 1) if number not in have]
        if len(missing) < len(upload.part_md5s):
            log.info("going on with %s/%s: %d of %d parts are missing", draft.bucket, draft.key, len(missing),
                     len(upload.part_md5s))  # fmt: skip
        left = set(missing)
        try:
            await self._tell(upload)
            await self._send(upload, source, info, parts, left, at_service)
        except Throttled:
            raise
        except Unavailable as error:
            if len(left) < len(missing):
                # Else an object that takes days would be given up after so many hiccups of the network.
                done = len(upload.part_md5s) - len(left)
                raise BrokenOff(
                    f"{error} ({done} of {len(upload.part_md5s)} parts are there)", error.retry_after
                ) from error
            raise
        finally:
            self._told_at.pop(upload.upload_id, None)
        reach("large.sent")
        try:
            put = await parts.complete(
                draft.key,
                upload.upload_id,
                upload.part_md5s,
                upload.content,
                if_absent=if_absent,
                if_match=if_match,
            )
        except NotFound as error:
            await self._ledger.forget(draft.rule, draft.bucket, draft.key)
            raise Unavailable(f"the upload of {draft.key} ended before it was completed: {error}", 1.0) from error
        except Corrupt:
            await self.abandon(draft, parts)
            raise
        reach("large.completed")
        await self._ledger.forget(draft.rule, draft.bucket, draft.key)
        return put, upload.content

    async def abandon(self, draft: Draft, parts: PartStore) -> None:
        """Remove what an earlier attempt left at the target, if there was one."""
        known = await self._ledger.find(draft.rule, draft.bucket, draft.key)
        if known is not None:
            await abandon_upload(known, parts, self._ledger)

    async def _known(self, draft: Draft, version: str, parts: PartStore) -> Upload | None:
        """The upload to go on with; one of another version, or one whose id was lost in a crash, is aborted."""
        known = await self._ledger.find(draft.rule, draft.bucket, draft.key)
        if known is None or (known.upload_id and known.version == version):
            return known
        await abandon_upload(known, parts, self._ledger)
        return None

    async def _begin(
        self,
        draft: Draft,
        source: ObjectStore,
        info: ObjectInfo,
        version: str,
        parts: PartStore,
        metadata: Mapping[str, str],
        promised: Content | None,
    ) -> Upload:
        least = -(-info.size // MOST_PARTS)
        part_bytes = max(parts.part_bytes, -(-least // _MIB) * _MIB)
        content, md5s = await self._survey(draft.rule, source, info, part_bytes)
        if content.size != info.size or (is_md5(info.etag) and content.md5 != info.etag):
            raise Corrupt(
                f"{info.key} of {source.name} has ETag {info.etag} and {info.size} bytes, but its bytes have MD5 "
                f"{content.md5} and are {content.size}: it was not copied; compare it with its copies"
            )
        if promised is not None and content != promised:
            raise Corrupt(
                f"{info.key} of {source.name} has MD5 {content.md5}, SHA-256 {content.sha256}; promised was MD5 "
                f"{promised.md5}, SHA-256 {promised.sha256}: it was not copied"
            )
        upload = Upload(
            draft.rule, draft.bucket, draft.key, "", version, content, part_bytes, md5s, self._clock.now()
        )  # fmt: skip
        await self._ledger.record(upload)
        reach("large.announced")
        upload_id = await parts.begin(draft.key, content, info.content_type, metadata)
        reach("large.begun")
        begun = Upload(
            draft.rule, draft.bucket, draft.key, upload_id, version, content, part_bytes, md5s, self._clock.now()
        )  # fmt: skip
        await self._ledger.record(begun)
        reach("large.recorded")
        return begun

    async def _survey(
        self, rule: str, source: ObjectStore, info: ObjectInfo, part_bytes: int
    ) -> tuple[Content, tuple[Md5, ...]]:
        """Read the whole once: its digests, and the MD5 of each part."""
        whole = _Whole()
        md5s: list[Md5] = []
        for first in range(0, info.size, part_bytes):
            length = min(part_bytes, info.size - first)
            await self._turn(rule, length)
            with self._moving(rule, Side.SOURCE, length):
                reader = await _open(source, info, first, length)
                hashing: asyncio.Task[None] | None = None
                try:
                    # What came first is the first part: its MD5 is that of the whole so far.
                    part = hashlib.md5(usedforsecurity=False) if first else None
                    waiting: list[bytes | memoryview] = []
                    size = 0
                    async for chunk in pieces_of(reader):
                        waiting.append(chunk)
                        size += len(chunk)
                        if size >= _HASHED_AT_ONCE:
                            # Some are digested, in threads, while the next ones come in.
                            if hashing is not None:
                                await hashing
                            hashing = asyncio.create_task(whole.take(waiting, part))
                            waiting, size = [], 0
                    if hashing is not None:
                        await hashing
                    await whole.take(waiting, part)
                finally:
                    try:
                        if hashing is not None:
                            # Where the reader broke off, threads may still be at what it gave.
                            await asyncio.gather(hashing, return_exceptions=True)
                    finally:
                        await reader.aclose()
            md5s.append(whole.md5() if part is None else Md5(part.hexdigest()))
        return whole.content(), tuple(md5s)

    async def _arrived(self, upload: Upload, size: int, parts: PartStore) -> Mapping[int, Part] | None:
        """The parts that the target has as they should be; None: it does not know the upload."""
        try:
            held = await parts.parts(upload.key, upload.upload_id)
        except NotFound:
            return None
        return {
            number: part
            for number, part in held.items()
            if 1 <= number <= len(upload.part_md5s)
            and part.etag == upload.part_md5s[number - 1]
            and part.size == _length(upload, size, number)
        }

    async def _send(
        self,
        upload: Upload,
        source: ObjectStore,
        info: ObjectInfo,
        parts: PartStore,
        left: set[int],
        at_service: ServerCopy | None,
    ) -> None:
        """`left`: the numbers of the parts; those that arrive leave it."""
        missing = sorted(left)
        numbers = iter(missing)

        async def some() -> None:
            for number in numbers:
                if at_service is None or not await self._part_at_service(upload, info, number, at_service):
                    async with self._room(upload.part_bytes, parts.part_bytes):
                        await self._part(upload, source, info, parts, number)
                left.discard(number)
                await self._tell(upload)

        self._memory.begin()
        senders = [asyncio.create_task(some()) for _ in range(min(self._at_once, len(missing)))]
        try:
            await asyncio.gather(*senders)
        finally:
            for sender in senders:
                sender.cancel()
            await asyncio.gather(*senders, return_exceptions=True)
            self._memory.end()

    @asynccontextmanager
    async def _room(self, part_bytes: int, usual: int) -> AsyncIterator[None]:
        """For one part in memory. One that is larger than the store's usual ones, as those of an object that would have
        more than MOST_PARTS of these, takes the room of several."""
        places = min(-(-part_bytes // usual), self._at_once)
        taken = 0
        try:
            async with self._taking:  # one after the other: two that have half of what they need would wait for ever
                while taken < places:
                    await self._buffers.acquire()
                    taken += 1
            yield
        finally:
            for _ in range(taken):
                self._buffers.release()

    async def _tell(self, upload: Upload) -> None:
        """Now and then, that it is gone on with."""
        now = self._clock.now()
        if abs(now - self._told_at.get(upload.upload_id, upload.begun_at)) >= self._tell_every_s:
            self._told_at[upload.upload_id] = now
            await self._ledger.record(replace(upload, begun_at=now))

    async def _part_at_service(self, upload: Upload, info: ObjectInfo, number: int, at_service: ServerCopy) -> bool:
        """False: it has to be sent."""
        if not at_service.takes(info):
            return False
        await self._turn(upload.rule, 0)
        first = (number - 1) * upload.part_bytes
        whole_part = ByteRange(first, first + _length(upload, info.size, number) - 1)
        md5 = upload.part_md5s[number - 1]
        if await at_service.copy_part(info, upload.upload_id, number, whole_part, md5) is None:
            return False
        reach("large.part")
        return True

    async def _part(self, upload: Upload, source: ObjectStore, info: ObjectInfo, parts: PartStore, number: int) -> None:
        first = (number - 1) * upload.part_bytes
        length = _length(upload, info.size, number)
        await self._turn(upload.rule, length)
        data = self._memory.take(length)
        await self._fill(upload.rule, source, info, first, data)
        with self._moving(upload.rule, Side.TARGET, length):
            await parts.put_part(upload.key, upload.upload_id, number, data, upload.part_md5s[number - 1])
        # Not after a failure: a thread may still be reading it.
        self._memory.give(data)
        reach("large.part")

    async def _fill(self, rule: str, source: ObjectStore, info: ObjectInfo, first: int, data: bytearray) -> None:
        """Read the range that begins at `first` into all of `data`. Raises Unavailable."""
        length = len(data)
        with self._moving(rule, Side.SOURCE, length):
            reader = await _open(source, info, first, length)
            try:
                at = 0
                async for chunk in pieces_of(reader):
                    data[at : at + len(chunk)] = chunk
                    at += len(chunk)
            finally:
                await reader.aclose()
        if at != length:
            raise Unavailable(f"{info.key} in {source.name}: {at} bytes came of a range of {length}", 0.0)

    async def _turn(self, rule: str, length: int) -> None:
        if not await self._admit(rule, 1, length):
            raise Unavailable("this process is stopping: the copy goes on after the next start", 0.0)


async def abandon_upload(upload: Upload, parts: PartStore, ledger: UploadLedger) -> None:
    """Abort it at the target, and forget it. An upload whose id nobody knows is among the unfinished ones of its key,
    which is the mirror's own: all of them go. Raises Unavailable, Rejected."""
    ids = [upload.upload_id] if upload.upload_id else await parts.uploads(upload.key)
    for upload_id in ids:
        await parts.abort(upload.key, upload_id)
    reach("large.aborted")
    await ledger.forget(upload.rule, upload.bucket, upload.key)


class UploadSweep:
    """Aborts uploads that nobody went on with for long: their object was deleted, or their rule is gone."""

    def __init__(
        self,
        ledger: UploadLedger,
        clock: Clock,
        *,
        parts_of: Callable[[Upload], PartStore | None],
        after_s: float,
    ) -> None:
        """`parts_of`: where an upload is; None: the settings do not name its target any more, and its parts are left to
        the bucket's lifecycle."""
        self._ledger = ledger
        self._clock = clock
        self._parts_of = parts_of
        self._after_s = after_s

    async def once(self) -> bool:
        """Raises Unavailable, Rejected: the first failure, after all were tried."""
        failures: list[MillraceError] = []
        for upload in await self._ledger.all():
            if self._clock.now() - upload.begun_at < self._after_s:
                continue
            try:
                await self._sweep(upload)
            except MillraceError as error:  # a target that is away, or refuses this one: the others go
                log.warning("the abandoned upload %s of %s is still at its target: %s",
                            upload.upload_id, upload.key, error)  # fmt: skip
                failures.append(error)
        if failures:
            raise failures[0]
        return False

    async def _sweep(self, upload: Upload) -> None:
        if await self._ledger.find(upload.rule, upload.bucket, upload.key) != upload:
            return  # somebody went on with it meanwhile
        parts = self._parts_of(upload)
        if parts is None:
            log.warning("the upload %s of %s is at a target that no rule names any more: its parts are left there",
                        upload.upload_id, upload.key)  # fmt: skip
            await self._ledger.forget(upload.rule, upload.bucket, upload.key)
        else:
            await abandon_upload(upload, parts, self._ledger)


class _Whole:
    """MD5, SHA-256 and size of what passes; each piece is digested in two threads."""

    def __init__(self) -> None:
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._sha256 = hashlib.sha256()
        self._size = 0

    async def take(self, pieces: Sequence[bytes | memoryview], part: hashlib._Hash | None) -> None:
        self._size += sum(map(len, pieces))

        def md5s() -> None:
            for piece in pieces:
                self._md5.update(piece)
                if part is not None:
                    part.update(piece)

        def sha256() -> None:
            for piece in pieces:
                self._sha256.update(piece)

        await asyncio.gather(asyncio.to_thread(md5s), asyncio.to_thread(sha256))

    def md5(self) -> Md5:
        """Of what has passed."""
        return Md5(self._md5.hexdigest())

    def content(self) -> Content:
        return Content(self.md5(), Sha256(self._sha256.hexdigest()), self._size)


async def _open(source: ObjectStore, info: ObjectInfo, first: int, length: int) -> ObjectReader:
    """A range of the very version that was seen. Raises Unavailable when the source has another one now."""
    reader = await source.get(info.key, byte_range=ByteRange(first, first + length - 1))
    if reader.info.etag != info.etag or reader.info.size != info.size:
        await reader.aclose()
        raise Unavailable(f"{info.key} in {source.name} changed while it was copied", 0.0)
    return reader


def _length(upload: Upload, size: int, number: int) -> int:
    return min(upload.part_bytes, size - (number - 1) * upload.part_bytes)


def _version(info: ObjectInfo, metadata: Mapping[str, str]) -> str:
    """All that makes a copy another one, but the number of the task."""
    said = sorted((name, value) for name, value in metadata.items() if name != _SEQ)
    text = json.dumps([info.etag, info.size, info.content_type, said])
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()
