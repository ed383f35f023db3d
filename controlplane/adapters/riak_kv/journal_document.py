"""Records of the journal as they lie in Riak KV (docs/decisions/0009-riak-kv-journal.md).

    key     the SHA-256 of bucket, key and rule
    value   JSON: {"v": 1, "bucket", "key", "rule", "tasks": [...], "closed": {"<seq>": <ms>}}
    due     <due in ms>.<seq>.<shard>.<rule>    of the one task of the record that can be due
    seq     <seq>                               of the first INDEXED open tasks, pending or failed
    failed  <seq>                               of the first INDEXED dead letters
    size    <seq>.<pending>.<bytes>.<failed>.<rule>   the record's part in the counters; seq of its oldest pending task
    idle    <ms>                                when the last task of a record was closed

All numbers are hexadecimal, those that order of fixed length; <rule> is the first 8 digits of its name's SHA-256.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Collection
from functools import reduce
from typing import Any, Final

from controlplane.adapters.riak_kv.kv import Indexes
from controlplane.model.content import Content, Md5, Sha256
from controlplane.model.failures import Failure
from controlplane.model.key_record import Entry, KeyRecord, Tally, merge
from controlplane.model.keys import Bucket, Key
from controlplane.model.sharding import SHARDS, Shard
from controlplane.model.task import Draft, Dropped, Op, Task, TaskState
from controlplane.ports.errors import Corrupt, Rejected

INDEXED: Final = 100
"""So many tasks of one key can be found by their number. Work is always on the oldest."""
NO_SEQ: Final = "f" * 16
LAST: Final = "~"
"""Sorts behind every digit."""


def record_key(bucket: str, key: str, rule: str) -> str:
    return hashlib.sha256(f"{len(bucket)}:{len(key)}:{bucket}{key}{rule}".encode()).hexdigest()


def rule_digits(rule: str) -> str:
    return hashlib.sha256(rule.encode()).hexdigest()[:8]


def seq_digits(seq: int) -> str:
    return f"{min(max(seq, 0), (1 << 64) - 1):016x}"


def ms_digits(seconds: float) -> str:
    return f"{min(max(int(seconds * 1000), 0), (1 << 48) - 1):012x}"


def size_term(tally: Tally, first: int | None, rule: str) -> str:
    seq = NO_SEQ if first is None else seq_digits(first)
    return f"{seq}.{tally.pending:x}.{tally.pending_bytes:x}.{tally.failed:x}.{rule_digits(rule)}"


def read_size_term(term: str) -> tuple[Tally, str]:
    """And the rule's digits."""
    _, pending, size, failed, rule = term.split(".")
    return Tally(int(pending, 16), int(size, 16), int(failed, 16)), rule


def due_pattern(rule: str | None, shards: Collection[Shard] | None) -> str:
    """A pattern for terms of the due index; empty: all of them."""
    every_shard = shards is None or len(frozenset(shards)) == SHARDS
    if rule is None and every_shard:
        return ""
    numbers = "[0-9a-f]{2}" if every_shard else f"({'|'.join(f'{shard:02x}' for shard in sorted(shards or ()))})"
    return f"^[0-9a-f]{{12}}\\.[0-9a-f]{{16}}\\.{numbers}\\.{'' if rule is None else rule_digits(rule)}"


def require_storable(draft: Draft, now: float) -> None:
    """Raises Rejected."""
    try:
        for text in (draft.bucket, draft.key, draft.etag, draft.rule):
            text.encode()
    except UnicodeEncodeError as error:
        raise Rejected(f"the journal cannot hold the key {draft.key!r}: it is not valid Unicode") from error
    if draft.size < 0:
        raise Rejected(f"the journal cannot hold a size of {draft.size} bytes ({draft.key!r})")
    if not math.isfinite(now):
        raise Rejected(f"the journal cannot hold the time {now}")


def storable(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()


def indexes_of(record: KeyRecord, shard: int) -> Indexes:
    pending, failed, first = record.pending, record.failed, record.first
    if not record.entries:
        last = max(record.closed.values(), default=0)
        return (("idle_bin", f"{last:012x}"),)
    found: list[tuple[str, str]] = [
        ("size_bin", size_term(record.tally, first.seq if first is not None else None, record.rule))
    ]
    if first is not None:
        due = f"{ms_digits(first.due_at)}.{seq_digits(first.seq)}.{shard:02x}.{rule_digits(record.rule)}"
        found.append(("due_bin", due))
    found += [("seq_bin", seq_digits(task.seq)) for task in (*pending[:INDEXED], *failed[:INDEXED])]
    found += [("failed_bin", seq_digits(task.seq)) for task in failed[:INDEXED]]
    return found


def encode_record(record: KeyRecord) -> bytes:
    return _json(
        {
            "v": 1,
            "bucket": record.bucket,
            "key": record.key,
            "rule": record.rule,
            "tasks": [_task_fields(record.entries[seq]) for seq in sorted(record.entries)],
            "closed": {str(seq): at for seq, at in record.closed.items()},
        }
    )


def decode_record(values: tuple[bytes, ...], where: str) -> KeyRecord | None:
    """The siblings as one record; None when there is none. Raises Corrupt."""
    if not values:
        return None
    try:
        return reduce(merge, [_record(json.loads(value)) for value in values])
    except (ValueError, KeyError, TypeError) as error:
        raise Corrupt(f"{where} does not hold a record of the journal: {error!r}") from error


def _record(fields: dict[str, Any]) -> KeyRecord:
    if fields["v"] != 1:
        raise ValueError(f"version {fields['v']} is newer than this Millrace")
    bucket, key, rule = Bucket(fields["bucket"]), Key(fields["key"]), str(fields["rule"])
    entries = {row["seq"]: _entry(row, bucket, key, rule) for row in fields["tasks"]}
    return KeyRecord(bucket, key, rule, entries, {int(seq): at for seq, at in fields["closed"].items()})


def _task_fields(entry: Entry) -> dict[str, Any]:
    task = entry.task
    draft, content = task.draft, task.draft.content
    return {
        "seq": task.seq,
        "op": draft.op.value,
        "content": None if content is None else [content.md5, content.sha256, content.size],
        "etag": draft.etag,
        "size": draft.object_size,
        "failed": task.state is TaskState.FAILED,
        "attempts": task.attempts,
        "due_at": task.due_at,
        "enqueued_at": task.enqueued_at,
        "error": task.error,
        "failure": None if task.failure is None else task.failure.value,
        "revision": entry.revision,
    }


def _entry(row: dict[str, Any], bucket: Bucket, key: Key, rule: str) -> Entry:
    content = None
    if row["content"] is not None:
        md5, sha256, size = row["content"]
        content = Content(Md5(md5), Sha256(sha256), size)
    draft = Draft(Op(row["op"]), bucket, key, content, row["etag"], row["size"], rule)
    state = TaskState.FAILED if row["failed"] else TaskState.PENDING
    failure = None if row["failure"] is None else Failure(row["failure"])
    task = Task(row["seq"], draft, state, row["attempts"], row["due_at"], row["enqueued_at"], row["error"], failure)
    return Entry(task, row["revision"])


def encode_dropped(dropped: Dropped) -> bytes:
    draft = dropped.task.draft
    place = {"bucket": draft.bucket, "key": draft.key, "rule": draft.rule}
    return _json(
        {**place, "task": _task_fields(Entry(dropped.task)), "reason": dropped.reason, "at": dropped.dropped_at}
    )


def decode_dropped(value: bytes, where: str) -> Dropped:
    """Raises Corrupt."""
    try:
        fields = json.loads(value)
        place = Bucket(fields["bucket"]), Key(fields["key"]), str(fields["rule"])
        return Dropped(_entry(fields["task"], *place).task, fields["reason"], fields["at"])
    except (ValueError, KeyError, TypeError) as error:
        raise Corrupt(f"{where} does not hold a dropped entry of the journal: {error!r}") from error


def _json(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields, separators=(",", ":"), sort_keys=True).encode("ascii")
