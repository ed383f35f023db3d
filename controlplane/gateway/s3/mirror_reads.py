"""Reads of what may be in Riak CS no more, but at the mirror's target: GET, HEAD and the sources of copies."""

from __future__ import annotations

from collections.abc import Awaitable

from controlplane.gateway.s3.call import Call
from controlplane.ports.read_through import ReadThrough
from controlplane.ports.upstream import Ask, Reply, Upstream
from controlplane.s3.fault import Code, S3Fault
from controlplane.services.s3.buckets import BucketFacts, Versioning
from controlplane.services.s3.refusals import refusal


class MirrorReads:
    """`mirror` None: nothing is mirrored, so what Riak CS does not have is nowhere."""

    def __init__(self, upstream: Upstream, mirror: ReadThrough | None) -> None:
        self._upstream = upstream
        self._mirror = mirror

    def send(self, call: Call, ask: Ask, facts: BucketFacts) -> Awaitable[Reply]:
        """Riak CS's answer; the target's for a key that Riak CS does not have. `facts` of the bucket that is read.

        The copy has no ACL. It is for whoever may read every object of the bucket whatever its ACL: the bucket's owner,
        who would have it none the less, and whom the bucket's policy lets (I8), who is served by the owner's key."""
        mirror = self._mirror
        if mirror is None or ask.query or not mirror.covers(ask.bucket, ask.key):
            return self._upstream.send(ask)
        return self._send_through(mirror, call, ask, facts)

    async def _send_through(self, mirror: ReadThrough, call: Call, ask: Ask, facts: BucketFacts) -> Reply:
        reply = await self._upstream.send(ask)
        if reply.status != 404:
            return reply
        own = call.account.keys if call.account is not None else None
        by_policy = ask.signer is not None and ask.signer != own
        if not (call.caller.id == facts.acl.owner.id or by_policy) or facts.versioning is Versioning.ENABLED:
            return reply
        if ask.method != "HEAD":
            fault = await refusal(reply, key=True)
            if fault.code is not Code.NO_SUCH_KEY:
                raise fault
        reply.close()
        found = await mirror.send(ask, ask.signer)
        if found is None:
            raise S3Fault(Code.NO_SUCH_KEY)
        return found
