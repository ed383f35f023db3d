"""A lost answer never becomes a wrong one: every history that a doubtful swap can meet."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from controlplane.adapters.etcd.keyspace import LeaseLost
from controlplane.adapters.etcd.members import Answer, OutcomeUnknown
from controlplane.adapters.etcd.swap import swap
from controlplane.adapters.etcd.wire import Json, encode
from controlplane.ports.errors import Unavailable

LEASE, GRANTED_AT = 77, 100


def put(value: str, revision: int, lease: int = 0) -> Json:
    return {"kv": {"key": encode("k"), "value": encode(value), "mod_revision": str(revision), "lease": str(lease)}}


def deleted(revision: int) -> Json:
    return {"type": "DELETE", "kv": {"key": encode("k"), "mod_revision": str(revision)}}


@dataclass
class HistoryStream:
    """What a watch of the key from `start` on delivers; silent afterwards."""

    events: list[Json]
    compacted: bool
    started: bool = False
    closed: bool = False

    async def messages(self) -> list[Json]:
        if self.started:
            await asyncio.Event().wait()
        self.started = True
        if self.compacted:
            return [{"created": True}, {"canceled": True, "compact_revision": "500"}]
        return [{"created": True}, {"events": self.events}]

    def close(self) -> None:
        self.closed = True


@dataclass
class OneKey:
    """A keyspace with one key whose comparison failed on a repeated request, after the changes in `history`."""

    history: list[Json]
    succeeded: bool = False
    doubtful: bool = True
    compacted: bool = False
    lease_lost: bool = False
    revoke_fails: bool = False
    timeout_s: float = 3.0
    revoked: list[int] = field(default_factory=list)
    repeatable: bool | None = None
    streams: list[HistoryStream] = field(default_factory=list)

    async def grant(self, ttl_s: float) -> tuple[int, int]:
        return LEASE, GRANTED_AT

    async def revoke(self, lease: int) -> None:
        if self.revoke_fails:
            raise Unavailable("no etcd member answered")
        self.revoked.append(lease)

    async def transact(self, body: Json, *, repeatable: bool) -> Answer:
        self.repeatable = repeatable
        if self.lease_lost:
            raise LeaseLost("gone")
        if self.succeeded:
            return Answer({"header": {"revision": "200"}, "succeeded": True, "responses": [{}]}, self.doubtful)
        last = self.history[-1] if self.history else {"type": "DELETE"}
        kvs = [] if "type" in last else [last["kv"]]
        return Answer({"responses": [{"response_range": {"kvs": kvs}}]}, self.doubtful)

    async def watch(self, key: str, start_revision: int) -> HistoryStream:
        events = [event for event in self.history if int(event["kv"]["mod_revision"]) >= start_revision]
        self.streams.append(HistoryStream(events, self.compacted))
        return self.streams[-1]


async def swapped(key: OneKey, expected: int | None, value: str | None, ttl_s: float | None = None) -> int | None:
    keyspace: Any = key
    try:
        return await swap(keyspace, "k", expected, value, ttl_s)
    finally:
        assert all(stream.closed for stream in key.streams)


async def test_a_comparison_that_held_gives_the_revision() -> None:
    assert await swapped(OneKey([], succeeded=True), 150, "new") == 200


async def test_a_comparison_that_failed_at_the_first_attempt_needs_no_history() -> None:
    key = OneKey([put("new", 150)], doubtful=False)
    assert await swapped(key, 140, "new") is None
    assert not key.streams


@pytest.mark.parametrize(
    "history",
    [
        [put("old", 150), put("theirs", 160)],
        [put("old", 150), deleted(160)],
        [put("old", 150), deleted(160), put("new", 170)],
        [put("old", 150), put("theirs", 160), put("new", 170)],
        [put("old", 140)],
    ],
)
async def test_a_revision_that_others_used_up_was_not_ours(history: list[Json]) -> None:
    assert await swapped(OneKey(history), 150, "new") is None


@pytest.mark.parametrize(
    "history", [[put("new", 160)], [put("new", 160), put("x", 170)], [put("new", 160), deleted(170)]]
)
async def test_our_value_without_a_lease_proves_nothing(history: list[Json]) -> None:
    with pytest.raises(OutcomeUnknown):
        await swapped(OneKey(history), 150, "new")


async def test_a_delete_that_may_be_ours_proves_nothing_and_another_value_proves_it_was_not() -> None:
    with pytest.raises(OutcomeUnknown):
        await swapped(OneKey([deleted(160)]), 150, None)
    assert await swapped(OneKey([put("theirs", 160), deleted(170)]), 150, None) is None


@pytest.mark.parametrize("expected", [150, None])
async def test_our_lease_proves_that_we_did_even_when_it_was_overwritten_since(expected: int | None) -> None:
    assert await swapped(OneKey([put("new", 160, LEASE)]), expected, "new", 5) == 160
    assert await swapped(OneKey([put("new", 160, LEASE), put("x", 170)]), expected, "new", 5) == 160


@pytest.mark.parametrize("expected", [150, None])
async def test_the_same_value_under_another_lease_was_not_ours_and_our_lease_goes(expected: int | None) -> None:
    key = OneKey([put("new", 160, LEASE + 1)])
    assert await swapped(key, expected, "new", 5) is None
    assert key.revoked == [LEASE]


async def test_what_was_there_before_the_lease_was_not_ours() -> None:
    key = OneKey([put("new", GRANTED_AT)])
    assert await swapped(key, None, "new", 5) is None
    assert not key.streams


async def test_a_refusal_that_might_still_take_effect_is_not_reported() -> None:
    with pytest.raises(Unavailable):
        await swapped(OneKey([put("x", 160, 5)], revoke_fails=True), 150, "new", 5)


async def test_a_compacted_or_silent_history_is_undecided() -> None:
    with pytest.raises(OutcomeUnknown):
        await swapped(OneKey([put("x", 160)], compacted=True), 150, "new")
    with pytest.raises(OutcomeUnknown):
        await swapped(OneKey([]), 150, "new")


async def test_a_lost_lease_is_unavailable() -> None:
    with pytest.raises(Unavailable):
        await swapped(OneKey([], lease_lost=True), 150, "new", 5)


@pytest.mark.parametrize(
    ("expected", "ttl_s", "repeatable"), [(None, None, False), (None, 5, True), (150, None, True), (150, 5, True)]
)
async def test_only_what_can_be_recognised_is_sent_twice(
    expected: int | None, ttl_s: float | None, repeatable: bool
) -> None:
    key = OneKey([], succeeded=True)
    await swapped(key, expected, "new", ttl_s)
    assert key.repeatable is repeatable
