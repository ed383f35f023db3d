"""What a bucket allows: its owner, ACL, policy and versioning, kept for a moment.

Riak CS shows ACL and policy to some and not to others (anon-private-acl is 200, policy-get-bob is 403), so they are
read with a key that may: the caller's own when it owns the bucket, else the owner's, whom the list of users names. What
this gateway changes counts at once (`forget`); what another one changes, within `keep_s`.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from controlplane.ports.accounts import Account
from controlplane.ports.changes import Changes
from controlplane.ports.clock import Clock
from controlplane.ports.errors import Unavailable
from controlplane.ports.upstream import Ask, KeyPair, Reply, Upstream
from controlplane.s3.access.acl import Acl
from controlplane.s3.access.acl_xml import acl_from_riakcs
from controlplane.s3.access.policy import Policy, parse_policy
from controlplane.s3.fault import Code, S3Fault
from controlplane.s3.operation import Operation
from controlplane.s3.xml import MalformedXml, parse_xml
from controlplane.services.s3.callers import Callers
from controlplane.services.s3.refusals import refusal
from controlplane.services.s3.subresources import Kind, Subresources

_MAX_DOCUMENT_BYTES: Final = 1024 * 1024
_MOST_KEPT: Final = 10_000


class Versioning(Enum):
    NEVER = ""
    ENABLED = "Enabled"
    SUSPENDED = "Suspended"


@dataclass(frozen=True, slots=True)
class BucketFacts:
    acl: Acl
    policy: Policy | None
    policy_unreadable: bool
    """There is one that this gateway does not understand: nobody but the owner is let in."""
    versioning: Versioning
    plain: bool = field(init=False, compare=False, repr=False)
    """There is no policy."""
    decisions: dict[tuple[str | None, Operation], bool | None] = field(default_factory=dict, compare=False, repr=False)
    """What was decided for a caller and an operation, where nothing else decides: without a policy."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "plain", self.policy is None and not self.policy_unreadable)


class Buckets:
    def __init__(
        self,
        upstream: Upstream,
        callers: Callers,
        subresources: Subresources,
        admin: KeyPair,
        clock: Clock,
        keep_s: float,
        changes: Changes | None = None,
    ) -> None:
        """`changes`: by whom other processes of this node tell what they changed; times are monotonic."""
        self._changes = changes
        self._upstream = upstream
        self._subresources = subresources
        self._callers = callers
        self._admin = admin
        self._clock = clock
        self._keep_s = keep_s
        self._kept: OrderedDict[str, tuple[BucketFacts, float]] = OrderedDict()
        self._asking: dict[str, tuple[asyncio.Task[BucketFacts], float]] = {}
        self._owners: OrderedDict[str, Account] = OrderedDict()
        """Who owned a bucket when it was last looked at: whom to ask as when nobody else may. Checked by Riak CS."""

    def known(self, bucket: str) -> BucketFacts | None:
        entry = self._kept.get(bucket)
        if entry is None or self._clock.monotonic() - entry[1] >= self._keep_s or self._changed(bucket, entry[1]):
            return None
        return entry[0]

    async def facts(self, bucket: str, asker: Account | None) -> BucketFacts:
        """Raises S3Fault NoSuchBucket; Unavailable."""
        found = self.known(bucket)
        if found is not None:
            return found
        asking = self._asking.get(bucket)
        if asking is None or self._changed(bucket, asking[1]):
            asked_at = self._clock.monotonic()
            asking = asyncio.get_running_loop().create_task(self._ask(bucket, asker)), asked_at
            self._asking[bucket] = asking
            asking[0].add_done_callback(lambda done: self._asked(bucket, done, asked_at))
        return await asyncio.shield(asking[0])

    async def owner(self, canonical_id: str) -> Account | None:
        """The account of an owner; None when there is none any more."""
        return await self._callers.by_id(canonical_id)

    def forget(self, bucket: str) -> None:
        """This gateway has changed it. A look-up that is under way may have seen it as it was: it is not kept."""
        if self._changes is not None:
            self._changes.mark(bucket, self._clock.monotonic())
        self._kept.pop(bucket, None)
        self._asking.pop(bucket, None)

    def _changed(self, bucket: str, since: float) -> bool:
        """Whether another process of this node has changed it."""
        return self._changes is not None and self._changes.last(bucket) >= since

    async def aclose(self) -> None:
        tasks = [task for task, _ in self._asking.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _asked(self, bucket: str, done: asyncio.Task[BucketFacts], asked_at: float) -> None:
        asking = self._asking.get(bucket)
        current = asking is not None and asking[0] is done
        if current:
            del self._asking[bucket]
        if done.cancelled() or done.exception() is not None or not current:
            return
        self._kept[bucket] = (done.result(), asked_at)
        self._kept.move_to_end(bucket)
        while len(self._kept) > _MOST_KEPT:
            self._kept.popitem(last=False)

    async def _ask(self, bucket: str, asker: Account | None) -> BucketFacts:
        acl, signer = await self._acl(bucket, asker)
        owner = asker if asker is not None and asker.id == acl.owner.id else await self._callers.by_id(acl.owner.id)
        owns = owner is not None and owner.enabled
        if owner is not None and owns:
            signer = owner.keys
            self._owners[bucket] = owner
            self._owners.move_to_end(bucket)
            if len(self._owners) > _MOST_KEPT:
                self._owners.popitem(last=False)
        (policy, unreadable), versioning = await asyncio.gather(
            self._policy(bucket, acl.owner.id, signer), self._versioning(bucket, signer, owns=owns)
        )
        return BucketFacts(acl, policy, unreadable, versioning)

    async def _acl(self, bucket: str, asker: Account | None) -> tuple[Acl, KeyPair]:
        """The ACL, and who may read it."""
        seen = self._owners.get(bucket)
        signer = asker.keys if asker is not None else seen.keys if seen is not None else self._admin
        reply = await self._get(bucket, "acl", signer)
        if reply.status == 403 and seen is not None and seen.keys != signer:
            reply.close()
            signer = seen.keys
            reply = await self._get(bucket, "acl", signer)
        if reply.status == 403:
            # A policy closes the bucket to all but its owner, the admin among them.
            owner = await self._callers.owner_of(bucket)
            if owner is not None:
                reply.close()
                signer = owner.keys
                reply = await self._get(bucket, "acl", signer)
        if reply.status != 200:
            raise await refusal(reply, key=False)
        try:
            return acl_from_riakcs(await _document(reply)), signer
        except MalformedXml as error:
            raise Unavailable(f"Riak CS answered the ACL of {bucket} with what cannot be read: {error}") from error

    async def _policy(self, bucket: str, owner: str, signer: KeyPair) -> tuple[Policy | None, bool]:
        """What the gateways keep; else what Riak CS has, from before there was a gateway or past it."""
        kept = await self._subresources.bucket_document(bucket, Kind.POLICY, owner=owner, fresh=True)
        if kept is not None:
            return _parsed(kept, bucket)
        reply = await self._get(bucket, "policy", signer)
        if reply.status == 200:
            return _parsed(await _document(reply), bucket)
        if reply.status == 403:
            reply.close()
            return None, True
        fault = await refusal(reply, key=False)
        if fault.code is Code.NO_SUCH_BUCKET_POLICY:
            return None, False
        raise fault

    async def _versioning(self, bucket: str, signer: KeyPair, *, owns: bool) -> Versioning:
        reply = await self._get(bucket, "versioning", signer)
        if reply.status != 200:
            if owns:
                raise await refusal(reply, key=False)
            # Only the owner may ask (anon-private-versioning is 500, ?location of others 404).
            reply.close()
            return Versioning.NEVER
        try:
            status = parse_xml(await _document(reply)).text_of("Status") or ""
            return Versioning(status.strip())
        except (MalformedXml, ValueError):
            return Versioning.NEVER

    async def _get(self, bucket: str, subresource: str, signer: KeyPair) -> Reply:
        return await self._upstream.send(Ask("GET", signer, bucket, query=((subresource, ""),)))


def _parsed(document: bytes, bucket: str) -> tuple[Policy | None, bool]:
    try:
        return parse_policy(document, bucket), False
    except S3Fault:
        return None, True


async def _document(reply: Reply) -> bytes:
    try:
        return await reply.read_all(_MAX_DOCUMENT_BYTES)
    finally:
        reply.close()
