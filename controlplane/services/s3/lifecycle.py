"""Lifecycle: deletes what the rules of buckets let expire, and aborts uploads that nobody finished.

One agent of the cluster does it, under a lock. Decisions are in s3/lifecycle.py; this carries them out so that nothing
is deleted that a rule does not name at that moment: the rules are read anew for every page, and an object is looked at
once more right before it goes. What is written under its key within that instant (milliseconds) is lost with it: Riak
CS has no conditional delete.

Every deletion is reported like a client's (I1, I4): the mirror deletes its copy, and read-through does not bring it
back.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from controlplane.model.lock_plan import Wish
from controlplane.model.tally import LifecycleTally
from controlplane.ports.accounts import Account, Accounts
from controlplane.ports.clock import Clock
from controlplane.ports.errors import MillraceError, Unavailable
from controlplane.ports.upstream import Ask, KeyPair, Query, Upstream
from controlplane.ports.write_log import WriteLog
from controlplane.s3.dates import MalformedDate, parse_http_date
from controlplane.s3.documents.lifecycle_xml import parse_lifecycle
from controlplane.s3.documents.object_listing import ListedObject, ObjectPage
from controlplane.s3.etag import unquote_etag
from controlplane.s3.fault import Code, S3Fault
from controlplane.s3.lifecycle import Candidate, Lifecycle, abandoned, asks_for_tags, due, may_be_due
from controlplane.s3.listing import MalformedListing
from controlplane.s3.riakcs.ill_formed import parse_riakcs
from controlplane.s3.riakcs.listings import list_query, parse_objects, parse_uploads
from controlplane.s3.xml import MalformedXml
from controlplane.services.held_lock import NEVER, HeldLock
from controlplane.services.s3.object_records import ObjectRecords
from controlplane.services.s3.part_records import PartRecords
from controlplane.services.s3.refusals import refusal
from controlplane.services.s3.subresources import Kind, Subresources

log = logging.getLogger(__name__)

_MAX_LISTING_BYTES: Final = 32 * 1024 * 1024
_PAGE: Final = 1000
_AT_A_TIME: Final = 50
_GONE: Final = frozenset({Code.NO_SUCH_BUCKET, Code.NO_SUCH_KEY, Code.NO_SUCH_UPLOAD})


class Stopped(Exception):
    """The lock is another node's by now, or the agent ends: this node deletes nothing more."""


@dataclass(frozen=True, slots=True)
class _Place:
    """A bucket, the canonical id of its owner (empty: none is known), and with whose keys it is tended."""

    bucket: str
    owner: str
    signer: KeyPair


class LifecycleDuty:
    """once() sweeps every bucket that has rules, when the lock is held and the last sweep is `every_s` ago.

    A bucket that cannot be swept is told and tried in the next sweep; the others are swept all the same.
    """

    def __init__(
        self,
        upstream: Upstream,
        accounts: Accounts,
        subresources: Subresources,
        records: ObjectRecords,
        parts: PartRecords,
        writes: WriteLog,
        admin: KeyPair,
        lock: HeldLock,
        clock: Clock,
        *,
        every_s: float,
        tally: LifecycleTally,
    ) -> None:
        self._upstream = upstream
        self._accounts = accounts
        self._subresources = subresources
        self._records = records
        self._parts = parts
        self._writes = writes
        self._admin = admin
        self._lock = lock
        self._clock = clock
        self._every_s = every_s
        self._tally = tally
        self._ending = False
        self._next_at = NEVER
        lock.wish = Wish.HOLD

    async def once(self) -> bool:
        """A sweep, or nothing. Raises Unavailable when it could not even begin: the runner backs off."""
        self._tally.held = self._lock.held
        self._tally.directory_errors = self._lock.errors
        if self._ending or not self._lock.held or self._clock.monotonic() < self._next_at:
            return False
        try:
            await self._sweep()
        except Stopped:
            log.info("lifecycle: the sweep ends here; it begins anew where the lock is held")
        else:
            self._next_at = self._clock.monotonic() + self._every_s
            self._tally.sweeps += 1
            self._tally.last_sweep_at = self._clock.now()
        return False

    def stop(self) -> None:
        """Nothing more is deleted after the request under way."""
        self._ending = True

    async def end(self) -> None:
        """At an orderly stop, after the last once(): the duty is free for others at once."""
        await self._lock.give_back()
        self._tally.held = False

    def _go_on(self) -> None:
        if self._ending or not self._lock.held:
            raise Stopped

    async def _sweep(self) -> None:
        owners: dict[str, Account] = {}
        accounts: tuple[Account, ...] = ()
        async for bucket in self._subresources.buckets_with(Kind.LIFECYCLE):
            self._go_on()
            if not accounts:
                accounts = tuple(await self._accounts.all())
                owners = {name: account for account in accounts for name in account.buckets}
            owner = owners.get(bucket)
            place = _Place(
                bucket,
                owner.id if owner is not None else "",
                owner.keys if owner is not None and owner.enabled else self._admin,
            )
            try:
                await self._sweep_bucket(place, accounts)
            except (MillraceError, S3Fault, MalformedListing) as error:
                if isinstance(error, S3Fault) and error.code is Code.NO_SUCH_BUCKET:
                    continue  # deleted past the gateway, or just now
                self._tally.errors += 1
                self._tally.last_error = f"bucket {bucket}: {error}"
                log.warning("lifecycle of bucket %s: %s; tried again in the next sweep", bucket, error)

    async def _rules(self, place: _Place) -> Lifecycle:
        """As they are now; empty when they were deleted, or are of an owner who has the bucket no more."""
        self._go_on()
        document = await self._subresources.bucket_document(place.bucket, Kind.LIFECYCLE, owner=place.owner, fresh=True)
        return () if document is None else parse_lifecycle(document)

    async def _sweep_bucket(self, place: _Place, accounts: tuple[Account, ...]) -> None:
        bucket, signer = place.bucket, place.signer
        if not await self._plain(bucket, signer):
            log.warning("lifecycle: bucket %s has versioning, enabled past the gateway: nothing expires there", bucket)
            return
        after = ""
        while rules := await self._rules(place):
            if not any(rule.enabled and (rule.expire_days or rule.expire_date is not None) for rule in rules):
                break
            page = await self._page(bucket, signer, after)
            for place_in_page, listed in enumerate(page.objects):
                if place_in_page % _AT_A_TIME == 0:
                    await self._clock.sleep(0)  # many rules take long to judge, and other duties run beside
                await self._expire(bucket, listed, rules, signer)
            if not page.truncated:
                break
            after = page.next_after
        if any(rule.enabled and rule.abort_days is not None for rule in await self._rules(place)):
            for account in accounts:
                if account.enabled:
                    await self._abort_uploads(place, account.keys)

    async def _plain(self, bucket: str, signer: KeyPair) -> bool:
        """Whether a DELETE deletes what the listing shows. Riak CS answers only the owner (anon-private-versioning)."""
        status, body = await self._get(bucket, (("versioning", ""),), signer)
        if status != 200:
            return True
        try:
            return (parse_riakcs(body).text_of("Status") or "").strip() != "Enabled"
        except MalformedXml as error:
            raise Unavailable(f"Riak CS says of {bucket}?versioning what is no XML: {error}") from error

    async def _page(self, bucket: str, signer: KeyPair, after: str) -> ObjectPage:
        reply = await self._upstream.send(Ask("GET", signer, bucket, query=list_query("", "", after, _PAGE)))
        if reply.status != 200:
            raise await refusal(reply, key=False)
        try:
            return parse_objects(await reply.read_all(_MAX_LISTING_BYTES))
        finally:
            reply.close()

    async def _expire(self, bucket: str, listed: ListedObject, rules: Lifecycle, signer: KeyPair) -> None:
        candidate = Candidate(listed.key, listed.size, listed.modified_at)
        now = self._clock.now()
        if not may_be_due(candidate, rules, now):
            return
        found = await self._look(bucket, listed.key, signer)
        if found is None or not _same(listed, found):
            return  # gone, or written anew since it was listed
        if asks_for_tags(rules, listed.key):
            candidate = replace(candidate, tags=await self._records.tags_of(bucket, listed.key, found))
        for _, expiry in due([candidate], rules, now):
            await self._delete(bucket, listed.key, signer)
            log.info("s3://%s/%s expired by rule %s", bucket, listed.key, expiry.rule_id)

    async def _look(self, bucket: str, key: str, signer: KeyPair) -> Mapping[str, str] | None:
        """The headers of an object; None when it is gone. The admin may read what others put into the bucket."""
        for who in (self._admin, signer):
            self._go_on()
            reply = await self._upstream.send(Ask("HEAD", who, bucket, key))
            status, found = reply.status, reply.headers
            reply.close()
            if status == 200:
                return found
            if status == 404:
                return None
        raise Unavailable(f"Riak CS answers {status} to a look at s3://{bucket}/{key}")

    async def _delete(self, bucket: str, key: str, signer: KeyPair) -> None:
        self._go_on()
        await self._writes.deleting(bucket, key)
        reply = await self._upstream.send(Ask("DELETE", signer, bucket, key))
        if reply.status not in (200, 204):
            fault = await refusal(reply, key=True)
            if fault.code not in _GONE:
                raise fault
        reply.close()
        await self._records.gone(bucket, key)
        await self._writes.deleted(bucket, key)
        self._tally.expired += 1

    async def _abort_uploads(self, place: _Place, signer: KeyPair) -> None:
        """Those of one user, who alone may abort them in Riak CS: the bucket's owner sees those of others, too."""
        bucket = place.bucket
        status, body = await self._get(bucket, (("uploads", ""),), signer)
        if status == 403:
            return  # a policy closes the bucket to this user, who then has no upload in it that could be completed
        if status != 200:
            raise Unavailable(f"Riak CS answers {status} to the list of uploads of {bucket}")
        rules = await self._rules(place)
        for upload in parse_uploads(body):
            own = upload.owner.id == signer.access_key
            if not own or not abandoned(upload.key, upload.initiated_at, rules, self._clock.now()):
                continue
            self._go_on()
            reply = await self._upstream.send(
                Ask("DELETE", signer, bucket, upload.key, (("uploadId", upload.upload_id),))
            )
            if reply.status not in (200, 204):
                fault = await refusal(reply, key=True)
                if fault.code not in _GONE:
                    raise fault
            reply.close()
            await self._parts.forget(bucket, upload.upload_id)
            self._tally.aborted += 1
            log.info("s3://%s/%s: upload %s was abandoned and is aborted", bucket, upload.key, upload.upload_id)

    async def _get(self, bucket: str, query: Query, signer: KeyPair) -> tuple[int, bytes]:
        reply = await self._upstream.send(Ask("GET", signer, bucket, query=query))
        try:
            return reply.status, await reply.read_all(_MAX_LISTING_BYTES)
        finally:
            reply.close()


def _same(listed: ListedObject, found: Mapping[str, str]) -> bool:
    """Whether a HEAD shows the very object that was listed."""
    try:
        modified_at = parse_http_date(found.get("last-modified", ""))
    except MalformedDate:
        return False
    return unquote_etag(found.get("etag", "")) == listed.etag and modified_at == int(listed.modified_at)
