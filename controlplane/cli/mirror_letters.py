"""`millrace mirror failed|inspect|retry|drop`: the copies that were given up, and what becomes of them."""

from __future__ import annotations

import asyncio
import getpass
import os
import time
from argparse import Namespace
from typing import TYPE_CHECKING, Any

from controlplane.cli import output
from controlplane.cli.exit_codes import CommandFailed, ExitCode, UsageError
from controlplane.cli.mirror_commands import BLOBS, node_settings, open_for, require_rule

if TYPE_CHECKING:
    from controlplane.model.task import Dropped, Task
    from controlplane.settings.tree import Settings

_PAGE = 1000


def failed(arguments: Namespace) -> int:
    """Every dead letter, in the order in which the writes were acknowledged."""
    if arguments.dropped:
        return _dropped(arguments)
    tasks = _chosen(node_settings(arguments), arguments.rule)
    if arguments.json:
        output.document([_entry(task) for task in tasks])
    elif tasks:
        output.table(("SEQ", "RULE", "OP", "KEY", "ATTEMPTS", "FAILURE", "ERROR"), [_row(task) for task in tasks])
    else:
        output.complain("nothing failed")
    return ExitCode.OK


def _chosen(settings: Settings, rule: str | None) -> list[Task]:
    """Those of a rule, which may be one of former settings; None: all. Raises CommandFailed when there never was it."""
    tasks = [task for task in asyncio.run(_failed(settings)) if _is_of(task, rule)]
    if rule is not None and not tasks:
        require_rule(settings, rule)
    return tasks


async def _failed(settings: Settings) -> list[Task]:
    tasks: list[Task] = []
    async with open_for(settings) as journal:
        while page := await journal.failed(_PAGE, tasks[-1].seq if tasks else 0):
            tasks.extend(page)
    return tasks


def _row(task: Task) -> tuple[str, ...]:
    draft = task.draft
    return (
        str(task.seq),
        draft.rule or BLOBS,
        draft.op.value,
        f"{draft.bucket}/{draft.key}",
        str(task.attempts),
        _category(task),
        task.error,
    )


def _category(task: Task) -> str:
    return "" if task.failure is None else task.failure.value


def _entry(task: Task) -> dict[str, Any]:
    draft = task.draft
    return {
        "seq": task.seq,
        "rule": draft.rule or BLOBS,
        "op": draft.op.value,
        "bucket": draft.bucket,
        "key": draft.key,
        "size": draft.content.size if draft.content is not None else draft.object_size,
        "state": task.state.value,
        "attempts": task.attempts,
        "failure": _category(task) or None,
        "enqueued_at": task.enqueued_at,
        "error": task.error,
    }


def retry(arguments: Namespace) -> int:
    """Give dead letters a new budget; the agent takes them up by itself. 3 when one of those named is none, or
    when there is no such rule."""
    if bool(arguments.seqs) == bool(arguments.all or arguments.rule):
        raise UsageError("mirror retry: name what to try again: either numbers, or --rule, or --all")
    wanted = sorted(set(arguments.seqs))
    settings = node_settings(arguments)
    chosen: list[int] | None = wanted or None
    if arguments.rule:
        chosen = [task.seq for task in _chosen(settings, arguments.rule)]
    revived = asyncio.run(_retry(settings, chosen))
    if arguments.json:
        output.document({"revived": revived})
    else:
        output.line(f"{revived} to be tried again")
    if wanted and revived < len(wanted):
        missing = len(wanted) - revived
        raise CommandFailed(
            f"{missing} of {len(wanted)} numbers are not among the failed copies, or something newer of the same "
            "object is pending: see `millrace mirror failed`",
            ExitCode.NOT_FOUND,
        )
    return ExitCode.OK


async def _retry(settings: Settings, seqs: list[int] | None) -> int:
    async with open_for(settings) as journal:
        return await journal.revive(seqs, time.time())


def _is_of(task: Task, rule: str | None) -> bool:
    return rule is None or (task.draft.rule or BLOBS) == rule


def inspect(arguments: Namespace) -> int:
    """All that the journal knows of one entry, pending or failed. 3 when it has no such entry."""
    task = asyncio.run(_find(node_settings(arguments), arguments.seq))
    if task is None:
        raise CommandFailed(
            f"there is no entry {arguments.seq}: it was mirrored, or dropped (`millrace mirror failed --dropped`)",
            ExitCode.NOT_FOUND,
        )
    told = {**_entry(task), "etag": task.draft.etag, "due_at": task.due_at}
    content = task.draft.content
    if content is not None:
        told |= {"md5": content.md5, "sha256": content.sha256}
    if arguments.json:
        output.document(told)
        return ExitCode.OK
    for name, value in told.items():
        if name.endswith("_at"):
            value = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(value))
        output.line(f"{name + ':':<13} {'' if value is None else value}")
    return ExitCode.OK


async def _find(settings: Settings, seq: int) -> Task | None:
    async with open_for(settings) as journal:
        return await journal.find(seq)


def drop(arguments: Namespace) -> int:
    """Give dead letters up for good; a record with the reason stays. 3 when one of those named is none."""
    reason = arguments.reason.strip()
    if not reason:
        raise UsageError("mirror drop: say why, for those who look for the object later: --reason TEXT")
    wanted = sorted(set(arguments.seqs))
    by = os.environ.get("SUDO_USER") or getpass.getuser()
    dropped = asyncio.run(_drop(node_settings(arguments), wanted, f"{by}: {reason}"))
    if arguments.json:
        output.document({"dropped": dropped})
    else:
        output.line(f"{dropped} dropped")
    if dropped < len(wanted):
        raise CommandFailed(
            f"{len(wanted) - dropped} of {len(wanted)} numbers are not among the failed copies: "
            "see `millrace mirror failed`",
            ExitCode.NOT_FOUND,
        )
    return ExitCode.OK


async def _drop(settings: Settings, seqs: list[int], reason: str) -> int:
    async with open_for(settings) as journal:
        return await journal.drop(seqs, reason, time.time())


def _dropped(arguments: Namespace) -> int:
    records = [
        each for each in asyncio.run(_all_dropped(node_settings(arguments))) if _is_of(each.task, arguments.rule)
    ]
    if arguments.json:
        output.document(
            [{**_entry(each.task), "reason": each.reason, "dropped_at": each.dropped_at} for each in records]
        )
    elif records:
        output.table(
            ("SEQ", "RULE", "OP", "KEY", "DROPPED", "REASON"),
            [
                (
                    str(each.task.seq),
                    each.task.draft.rule or BLOBS,
                    each.task.draft.op.value,
                    f"{each.task.draft.bucket}/{each.task.draft.key}",
                    time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(each.dropped_at)),
                    each.reason,
                )
                for each in records
            ],
        )
    else:
        output.complain("nothing was dropped")
    return ExitCode.OK


async def _all_dropped(settings: Settings) -> list[Dropped]:
    records: list[Dropped] = []
    async with open_for(settings) as journal:
        while page := await journal.dropped(_PAGE, records[-1].task.seq if records else 0):
            records.extend(page)
    return records
