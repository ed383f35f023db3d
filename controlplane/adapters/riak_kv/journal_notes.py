"""What the shared journal keeps beside its records: figures of rules, pauses, dropped dead letters.

flow/<node>/<rule>  what that node counted of a rule; only it writes there
pauses              one object for all rules
dropped/<seq>       with <seq> in the index "dropped"
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any, Final

from controlplane.adapters.riak_kv.journal_document import (
    LAST,
    decode_dropped,
    encode_dropped,
    rule_digits,
    seq_digits,
)
from controlplane.adapters.riak_kv.kv import Fetched, RiakKv
from controlplane.model.rule_flow import Flow, Pauses, merge_flows, merge_pauses, sum_of_flows
from controlplane.model.rule_stats import RuleStats
from controlplane.model.task import Dropped, Task
from controlplane.ports.errors import Corrupt
from controlplane.ports.journal import EVERY_RULE

_PAUSES: Final = "pauses"
_PAGE: Final = 1000


class JournalNotes:
    def __init__(self, kv: RiakKv, bucket: str, node: str) -> None:
        self._kv = kv
        self._bucket = bucket
        self._node = node
        self._introduced: set[str] = set()
        self._writing = asyncio.Lock()

    # -- figures ------------------------------------------------------------------------------------------------------

    async def introduce(self, rule: str) -> None:
        """Make the name of a rule known, once in the life of this process."""
        if rule not in self._introduced:
            async with self._writing:
                if rule not in self._introduced:
                    flow, fetched = await self._flow(rule)
                    if not fetched.values:
                        await self._write_flow(rule, flow, fetched)
                    self._introduced.add(rule)

    async def count(self, closed: Sequence[Task], copied: Mapping[int, int], now: float) -> None:
        by_rule: dict[str, list[Task]] = {}
        for task in closed:
            by_rule.setdefault(task.draft.rule, []).append(task)
        async with self._writing:
            for rule, tasks in by_rule.items():
                flow, fetched = await self._flow(rule)
                flow = flow.closed(now)
                for task in tasks:
                    if task.seq in copied:
                        flow = flow.counting(copied[task.seq], max(now - task.enqueued_at, 0.0))
                await self._write_flow(rule, flow, fetched)

    async def figures(self) -> dict[str, RuleStats]:
        """By the name of the rule, of all nodes together; what is pending is not in them."""
        flows: dict[str, list[Flow]] = {}
        continuation = b""
        while True:
            page = await self._kv.index(self._bucket, "flow_bin", "0", LAST, limit=_PAGE, continuation=continuation)
            keys = dict.fromkeys(key for _, key in page.rows)
            for fetched in await asyncio.gather(*(self._kv.fetch(self._bucket, key) for key in keys)):
                if fetched.values:
                    rule, flow = self._read_flow(fetched)
                    flows.setdefault(rule, []).append(flow)
            if not page.continuation:
                break
            continuation = page.continuation
        return {rule: sum_of_flows(found) for rule, found in flows.items()}

    async def _flow(self, rule: str) -> tuple[Flow, Fetched]:
        fetched = await self._kv.fetch(self._bucket, self._flow_key(rule))
        return (self._read_flow(fetched)[1] if fetched.values else Flow()), fetched

    async def _write_flow(self, rule: str, flow: Flow, known: Fetched) -> None:
        fields = {
            "rule": rule,
            "copied": flow.copied,
            "copied_bytes": flow.copied_bytes,
            "progress_at": flow.progress_at,
            "lag_counts": flow.lag_counts,
            "lag_total_s": flow.lag_total_s,
        }
        indexes = (("flow_bin", rule_digits(rule)),)
        await self._kv.store(
            self._bucket, self._flow_key(rule), json.dumps(fields).encode(), clock=known.clock, indexes=indexes
        )

    def _read_flow(self, fetched: Fetched) -> tuple[str, Flow]:
        try:
            rows: list[dict[str, Any]] = [json.loads(value) for value in fetched.values]
            flows = [
                Flow(
                    row["copied"],
                    row["copied_bytes"],
                    row["progress_at"],
                    tuple(row["lag_counts"]),
                    row["lag_total_s"],
                )
                for row in rows
            ]
            return str(rows[0]["rule"]), reduce(merge_flows, flows)
        except (ValueError, KeyError, TypeError) as error:
            raise Corrupt(f"figures in the bucket {self._bucket} of Riak KV cannot be read: {error!r}") from error

    def _flow_key(self, rule: str) -> str:
        return f"flow/{self._node}/{rule_digits(rule)}"

    # -- pauses -------------------------------------------------------------------------------------------------------

    async def pause(self, rule: str, since: float, now: float) -> None:
        pauses, clock = await self._pauses()
        if pauses.get(rule, (0, None))[1] is None:
            await self._write_pauses({**pauses, rule: (_after(pauses, now), since)}, clock)

    async def resume(self, rule: str, now: float) -> bool:
        pauses, clock = await self._pauses()
        resting = [name for name, (_, since) in pauses.items() if since is not None and rule in (name, EVERY_RULE)]
        if resting:
            number = _after(pauses, now)
            await self._write_pauses({**pauses, **dict.fromkeys(resting, (number, None))}, clock)
        return bool(resting)

    async def paused(self) -> Mapping[str, float]:
        pauses, _ = await self._pauses()
        return {rule: since for rule, (_, since) in pauses.items() if since is not None}

    async def _pauses(self) -> tuple[Pauses, bytes]:
        fetched = await self._kv.fetch(self._bucket, _PAUSES)
        try:
            found = [
                {str(rule): (int(number), since) for rule, (number, since) in json.loads(value).items()}
                for value in fetched.values
            ]
        except (ValueError, TypeError, AttributeError) as error:
            raise Corrupt(f"the pauses in the bucket {self._bucket} of Riak KV cannot be read: {error!r}") from error
        nothing: Pauses = {}
        return reduce(merge_pauses, found, nothing), fetched.clock

    async def _write_pauses(self, pauses: Pauses, clock: bytes) -> None:
        await self._kv.store(self._bucket, _PAUSES, json.dumps(pauses, sort_keys=True).encode(), clock=clock)

    # -- dropped dead letters -----------------------------------------------------------------------------------------

    async def record_dropped(self, dropped: Dropped) -> None:
        seq = seq_digits(dropped.task.seq)
        key = f"dropped/{seq}"
        known = await self._kv.fetch(self._bucket, key)
        if not known.values:
            indexes = (("dropped_bin", seq),)
            await self._kv.store(self._bucket, key, encode_dropped(dropped), clock=known.clock, indexes=indexes)

    async def dropped(self, limit: int, after: int) -> Sequence[Dropped]:
        found: list[Dropped] = []
        continuation = b""
        low = seq_digits(after + 1)
        while len(found) < limit:
            page = await self._kv.index(
                self._bucket,
                "dropped_bin",
                low,
                LAST,
                limit=min(_PAGE, limit - len(found)),
                continuation=continuation,
            )
            keys = dict.fromkeys(key for _, key in page.rows)
            for fetched in await asyncio.gather(*(self._kv.fetch(self._bucket, key) for key in keys)):
                # Siblings are the same promise; whoever dropped it.
                found += [decode_dropped(value, f"an object of {self._bucket}") for value in sorted(fetched.values)[:1]]
            if not page.continuation:
                break
            continuation = page.continuation
        return found


def _after(pauses: Pauses, now: float) -> int:
    return max([int(now * 1000), *(number + 1 for number, _ in pauses.values())])
