"""Compare-and-swap that never reports a wrong answer, though a request may be lost, or sent to two members.

A revision is used up by the first change after it, so a swap that expects a revision may be sent again: at most one
copy of it takes effect. When a copy may have been applied and the comparison fails, the history of the key tells who
used the revision up: our lease proves that we did, another value proves that we did not; otherwise the answer is
Unavailable. Values that name their writer are therefore resolved whenever etcd can be read.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from controlplane.adapters.etcd.keyspace import Keyspace, LeaseLost, nonsense, read_transaction
from controlplane.adapters.etcd.members import OutcomeUnknown
from controlplane.adapters.etcd.wire import Event, Json, KeyValue, Nonsense, encode, integer, read_events, revision_of


@dataclass(frozen=True, slots=True)
class Swap:
    key: str
    expected: int | None
    """The revision that the key must have; None: it must not exist."""
    value: str | None
    """None deletes."""
    lease: int = 0
    """A lease under which nothing else writes this key after `granted_at`; 0: none."""
    granted_at: int = 0
    """A revision of the store before the lease was granted; or at which the key was not there, for a lease of many."""

    def transaction(self) -> Json:
        key = encode(self.key)
        change: Json = {"request_delete_range": {"key": key}}
        if self.value is not None:
            change = {"request_put": {"key": key, "value": encode(self.value), "lease": str(self.lease)}}
        compare = {"key": key, "result": "EQUAL", "target": "CREATE", "create_revision": "0"}
        if self.expected is not None:
            compare = {"key": key, "result": "EQUAL", "target": "MOD", "mod_revision": str(self.expected)}
        return {"compare": [compare], "success": [change], "failure": [{"request_range": {"key": key}}]}


async def swap(
    keyspace: Keyspace, name: str, expected: int | None, value: str | None, ttl_s: float | None
) -> int | None:
    """The revision that was made, or None when the comparison failed. Raises Unavailable, Rejected."""
    if expected is not None and expected < 1:
        return None
    if value is None or ttl_s is None:
        return await apply(keyspace, Swap(name, expected, value))
    lease, granted_at = await keyspace.grant(ttl_s)
    revision = await apply(keyspace, Swap(name, expected, value, lease, granted_at))
    if revision is None:
        # Nobody needs the lease; and a copy of the request that is still under way can no longer take effect.
        await keyspace.revoke(lease)
    return revision


async def apply(keyspace: Keyspace, wanted: Swap) -> int | None:
    """The revision that was made, or None when the comparison failed. Raises Unavailable, Rejected."""
    # A creation without a lease has nothing to recognise it by, and might come into being after a later delete.
    repeatable = wanted.expected is not None or wanted.lease != 0
    try:
        answer = await keyspace.transact(wanted.transaction(), repeatable=repeatable)
    except LeaseLost as error:
        raise OutcomeUnknown(f"the lease for {wanted.key} expired before it was used: try again") from error
    succeeded, there = read_transaction(answer.fields)
    if succeeded:
        try:
            return revision_of(answer.fields)
        except Nonsense as error:
            raise nonsense(error) from error
    if not answer.doubtful:
        return None
    return await _resolve(keyspace, wanted, there)


async def _resolve(keyspace: Keyspace, wanted: Swap, there: KeyValue | None) -> int | None:
    if there is not None and wanted.lease and there.lease == wanted.lease:
        return there.mod_revision
    since = wanted.granted_at if wanted.expected is None else wanted.expected
    if there is not None and there.mod_revision <= since:
        return None
    if there is None and wanted.expected is None:
        raise _undecided(wanted)
    async with aclosing(_history(keyspace, wanted, since)) as history:
        async for event in history:
            if wanted.lease and event.kv.lease == wanted.lease:
                return event.kv.mod_revision
            if wanted.expected is not None:
                if _may_be_ours(wanted, event):
                    break
                return None
            if there is not None and event.kv.mod_revision >= there.mod_revision:
                return None
    raise _undecided(wanted)


def _may_be_ours(wanted: Swap, event: Event) -> bool:
    """Whether the change that used up the expected revision looks like the wanted one (a lease would have told)."""
    if wanted.lease:
        return False
    return event.deleted if wanted.value is None else not event.deleted and event.kv.value == wanted.value.encode()


async def _history(keyspace: Keyspace, wanted: Swap, since: int) -> AsyncGenerator[Event, None]:
    """The changes of the key after revision `since`. Ends when etcd no longer has them; raises Unavailable."""
    stream = await keyspace.watch(wanted.key, since + 1)
    try:
        while True:
            async with asyncio.timeout(keyspace.timeout_s):
                messages = await stream.messages()
            for message in messages:
                if message.get("canceled") or integer(message, "compact_revision"):
                    return
                for event in read_events(message):
                    yield event
    except (TimeoutError, Nonsense) as error:
        raise _undecided(wanted) from error
    finally:
        stream.close()


def _undecided(wanted: Swap) -> OutcomeUnknown:
    return OutcomeUnknown(f"etcd may or may not have changed {wanted.key}: read it back before trying again", 2.0)
