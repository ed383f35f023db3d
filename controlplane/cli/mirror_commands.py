"""`millrace mirror status|failed|retry`: this node's journal, read beside the running gateway and agent."""

from __future__ import annotations

import asyncio
import time
from argparse import Namespace
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from controlplane.cli import output, settings_source
from controlplane.cli.exit_codes import CommandFailed, ExitCode, UsageError

if TYPE_CHECKING:
    from controlplane.model.task import Task
    from controlplane.ports.journal import Journal, JournalStats
    from controlplane.settings.stores import Store
    from controlplane.settings.tree import Settings

_PAGE = 1000


def status(arguments: Namespace) -> int:
    """1 when there are dead letters, or a copy has been pending for longer than --max-age."""
    settings = node_settings(arguments)
    facts = asyncio.run(_status(settings))
    age = facts["oldest_age_s"]
    late = arguments.max_age is not None and age is not None and age > arguments.max_age
    facts["healthy"] = not facts["failed"] and not late
    if arguments.json:
        output.document(facts)
    else:
        _tell(facts, late=late)
    return ExitCode.OK if facts["healthy"] else ExitCode.FAILED


async def _status(settings: Settings) -> dict[str, Any]:
    from controlplane.model.manifest import LocationState
    from controlplane.wiring.adapters import PERSISTENT, open_catalog

    async with _journal(settings) as journal:
        stats: JournalStats = await journal.stats()
    catalog = await open_catalog(settings)
    try:
        counts = await catalog.counts(PERSISTENT)
    finally:
        await catalog.aclose()
    oldest = stats.oldest_enqueued_at
    return {
        "mirrored_to": _place(settings.persistent),
        "rules": [
            {
                "buckets": rule.buckets,
                "prefix": rule.prefix,
                "deletes": rule.deletes,
                "read_through": rule.read_through,
                "mirrored_to": _place(rule.target),
            }
            for rule in settings.mirror.rules
        ],
        "pending": stats.pending,
        "pending_bytes": stats.pending_bytes,
        "failed": stats.failed,
        "oldest_age_s": None if oldest is None else round(max(time.time() - oldest, 0.0), 3),
        "limit": stats.limit,
        "blobs": {state.value: counts.get(state, 0) for state in LocationState},
    }


def _place(store: Store | None) -> str | None:
    match store:
        case None:
            return None
        case store if store.kind == "s3":
            return f"{store.endpoints[0]}/{store.bucket}/{store.prefix}"
        case store if store.kind == "filesystem":
            return str(store.path)
        case store:
            return store.kind


def _tell(facts: dict[str, Any], *, late: bool) -> None:
    age = facts["oldest_age_s"]
    output.line(f"mirrored to:  {facts['mirrored_to'] or 'nothing: no persistent store is configured'}")
    for rule in facts["rules"]:
        extent = "" if rule["deletes"] else ", without deletes"
        extent += ", read through" if rule["read_through"] else ""
        output.line(f"S3 objects:   {rule['buckets']}/{rule['prefix']}* to {rule['mirrored_to']}{extent}")
    waiting = f", the oldest for {output.span(age)}" if age is not None else ""
    output.line(f"pending:      {facts['pending']} ({output.size(facts['pending_bytes'])}){waiting}")
    output.line(f"failed:       {facts['failed']}")
    used = facts["pending"] + facts["failed"]
    output.line(f"journal:      {used} of at most {facts['limit']} entries")
    output.line(f"blobs:        {', '.join(f'{count} {state}' for state, count in facts['blobs'].items())}")
    if facts["failed"]:
        output.line("unhealthy:    copies were given up: see `millrace mirror failed`, then `millrace mirror retry`")
    if late:
        output.line("unhealthy:    the oldest copy is pending for too long: see `millrace doctor`")


def failed(arguments: Namespace) -> int:
    """Every dead letter, in the order in which the writes were acknowledged."""
    tasks = asyncio.run(_failed(node_settings(arguments)))
    if arguments.json:
        output.document([_entry(task) for task in tasks])
    elif tasks:
        output.table(("SEQ", "OP", "KEY", "ATTEMPTS", "ERROR"), [_row(task) for task in tasks])
    else:
        output.complain("nothing failed")
    return ExitCode.OK


async def _failed(settings: Settings) -> list[Task]:
    tasks: list[Task] = []
    async with _journal(settings) as journal:
        while page := await journal.failed(_PAGE, tasks[-1].seq if tasks else 0):
            tasks.extend(page)
    return tasks


def _row(task: Task) -> tuple[str, ...]:
    draft = task.draft
    return str(task.seq), draft.op.value, f"{draft.bucket}/{draft.key}", str(task.attempts), task.error


def _entry(task: Task) -> dict[str, Any]:
    draft = task.draft
    return {
        "seq": task.seq,
        "op": draft.op.value,
        "bucket": draft.bucket,
        "key": draft.key,
        "size": draft.content.size if draft.content is not None else draft.object_size,
        "attempts": task.attempts,
        "enqueued_at": task.enqueued_at,
        "error": task.error,
    }


def retry(arguments: Namespace) -> int:
    """Give dead letters a new budget; the agent takes them up by itself. 3 when one of those named is none."""
    if bool(arguments.seqs) == arguments.all:
        raise UsageError("mirror retry: name what to try again: either numbers or --all")
    wanted = sorted(set(arguments.seqs))
    revived = asyncio.run(_retry(node_settings(arguments), wanted or None))
    if arguments.json:
        output.document({"revived": revived})
    else:
        output.line(f"{revived} to be tried again")
    if wanted and revived < len(wanted):
        missing = len(wanted) - revived
        raise CommandFailed(
            f"{missing} of {len(wanted)} numbers are not among the failed copies: see `millrace mirror failed`",
            ExitCode.NOT_FOUND,
        )
    return ExitCode.OK


async def _retry(settings: Settings, seqs: list[int] | None) -> int:
    async with _journal(settings) as journal:
        return await journal.revive(seqs, time.time())


def node_settings(arguments: Namespace) -> Settings:
    """The settings, once it is sure that there is a journal: looking must not make one."""
    settings = settings_source.load(arguments.config, data_dir=arguments.data_dir)
    data_dir = settings.node.data_dir
    settings_source.become_owner(data_dir)
    if not (data_dir / "journal.db").exists():
        raise CommandFailed(
            f"there is no journal in {data_dir}: name the node's settings with --config, or the place with --data-dir",
            ExitCode.NOT_FOUND,
        )
    return settings


@asynccontextmanager
async def _journal(settings: Settings) -> AsyncIterator[Journal]:
    from controlplane.wiring.adapters import open_journal

    journal = await open_journal(settings)
    try:
        yield journal
    finally:
        await journal.aclose()
