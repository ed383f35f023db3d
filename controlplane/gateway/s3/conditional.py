"""Conditional writes: the condition is judged under the key's lock, right before the commit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from typing import Final

from controlplane.gateway.s3.call import Call
from controlplane.gateway.s3.stored_object import length_of, modified_at
from controlplane.ports.errors import Unavailable
from controlplane.ports.upstream import Ask, KeyPair, Upstream
from controlplane.s3.conditions import Failure, Found, WriteCondition
from controlplane.s3.etag import unquote_etag
from controlplane.s3.fault import Code, S3Fault
from controlplane.services.s3.latest import LatestVersions
from controlplane.services.s3.refusals import refusal
from controlplane.services.s3.write_locks import WriteLocks


class Commit:
    """One write, here without a condition: nothing is to be done for it."""

    condition: WriteCondition | None = None

    async def early(self) -> None:
        """Look before a large body is taken in: most conditions that fail do so now."""

    async def ready(self) -> None:
        """Take the lock and judge. What follows must be over before the lease is. Raises S3Fault, Unavailable."""


class _Conditional(Commit):
    def __init__(
        self, writes: ConditionalWrites, call: Call, key: str, signer: KeyPair | None, condition: WriteCondition
    ) -> None:
        self._writes = writes
        self._call = call
        self._key = key
        self._signer = signer
        self.condition = self._condition = condition
        self.held = AsyncExitStack()
        self.deadline = asyncio.timeout(None)

    async def early(self) -> None:
        await self._writes.judge(self._call, self._key, self._signer, self._condition)

    async def ready(self) -> None:
        left = await self.held.enter_async_context(self._writes.locks.hold(self._call.bucket, self._key))
        self.deadline.reschedule(asyncio.get_running_loop().time() + left)
        await self._writes.judge(self._call, self._key, self._signer, self._condition)


_FREE: Final = Commit()


class ConditionalWrites:
    def __init__(self, upstream: Upstream, locks: WriteLocks, latest: LatestVersions) -> None:
        self._upstream = upstream
        self.locks = locks
        self._latest = latest

    def commit(self, call: Call, condition: WriteCondition | None) -> AbstractAsyncContextManager[Commit]:
        """The lock that ready() takes is given back at the end. Raises Unavailable when the lease would end first."""
        return self.commit_one(call, call.key, call.signer, condition)

    def commit_one(
        self, call: Call, key: str, signer: KeyPair | None, condition: WriteCondition | None
    ) -> AbstractAsyncContextManager[Commit]:
        """The same for one key of several, to be looked at with `signer`."""
        if condition is None:
            return nullcontext(_FREE)
        return self._locked(_Conditional(self, call, key, signer, condition))

    @asynccontextmanager
    async def _locked(self, commit: _Conditional) -> AsyncIterator[Commit]:
        try:
            async with commit.held, commit.deadline:
                yield commit
        except TimeoutError as error:
            if not commit.deadline.expired():
                raise
            raise Unavailable(
                "the lock of a conditional write ran out before Riak CS had answered: the outcome is unknown"
            ) from error

    async def judge(self, call: Call, key: str, signer: KeyPair | None, condition: WriteCondition) -> None:
        """Raises S3Fault PreconditionFailed, NoSuchKey (If-Match on what is not there); Unavailable."""
        query = await self._latest.query(call.bucket, key, None, call.bucket_facts, signer)
        reply = await self._upstream.send(Ask("HEAD", signer, call.bucket, key, query))
        if reply.status not in (200, 404):
            raise await refusal(reply, key=True)
        reply.close()
        headers = reply.headers
        found = None
        if reply.status == 200:
            found = Found(unquote_etag(headers.get("etag", "")), length_of(headers) or 0, modified_at(headers))
        failure = condition.judge(found)
        if failure is Failure.MISSING:
            raise S3Fault(Code.NO_SUCH_KEY)
        if failure is not None:
            raise S3Fault(Code.PRECONDITION_FAILED, extra=(("Condition", failure.value),))
