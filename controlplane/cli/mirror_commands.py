"""`millrace mirror status|pause|resume`: this node's journal, read and written beside the running gateway and agent."""

from __future__ import annotations

import asyncio
import time
from argparse import Namespace
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from controlplane.cli import output, settings_source
from controlplane.cli.exit_codes import CommandFailed, ExitCode, UsageError

if TYPE_CHECKING:
    from controlplane.model.rule_stats import RuleStats
    from controlplane.ports.journal import Journal, JournalStats
    from controlplane.settings.stores import Store
    from controlplane.settings.tree import Settings

BLOBS = "blobs"
"""How the mirror of blobs is called, beside the rules of S3 objects."""

EVERY_RULE = "*"
"""As ports.journal has it; nothing is imported before a command is chosen."""


def status(arguments: Namespace) -> int:
    """1 when there are dead letters, a rule stands still, or a copy is pending for longer than --max-age."""
    settings = node_settings(arguments)
    facts = asyncio.run(_status(settings, arguments.rate))
    age = facts["oldest_age_s"]
    late = arguments.max_age is not None and age is not None and age > arguments.max_age
    stalled = any(rule["stalled"] for rule in facts["rules"])
    facts["healthy"] = not facts["failed"] and not late and not stalled
    if arguments.json:
        output.document(facts)
    else:
        _tell(facts, late=late)
    return ExitCode.OK if facts["healthy"] else ExitCode.FAILED


async def _status(settings: Settings, rate_s: float) -> dict[str, Any]:
    from controlplane.model.manifest import LocationState
    from controlplane.wiring.adapters import PERSISTENT, open_catalog

    async with open_for(settings) as journal:
        stats: JournalStats = await journal.stats()
        figures = await journal.rules()
        began, before = time.monotonic(), figures
        if rate_s:
            await asyncio.sleep(rate_s)
            stats, figures = await journal.stats(), await journal.rules()
        watched_s = time.monotonic() - began
        paused = await journal.paused()
    catalog = await open_catalog(settings)
    try:
        counts = await catalog.counts(PERSISTENT)
    finally:
        await catalog.aclose()
    now = time.time()
    oldest = stats.oldest_enqueued_at
    return {
        "mirrored_to": _place(settings.persistent),
        "rules": [
            {**rule, **(_rate(rule["name"], before, figures, watched_s) if rate_s else {})}
            for rule in _rules(settings, figures, paused, now)
        ],
        "paused": EVERY_RULE in paused,
        "pending": stats.pending,
        "pending_bytes": stats.pending_bytes,
        "failed": stats.failed,
        "oldest_age_s": None if oldest is None else round(max(now - oldest, 0.0), 3),
        "limit": stats.limit,
        "blobs": {state.value: counts.get(state, 0) for state in LocationState},
        "scan": await _scan(settings),
    }


async def _scan(settings: Settings) -> dict[str, Any] | None:
    if not settings.mirror.scan.interval_s:
        return None
    from controlplane.wiring.scan_status import scan_status

    return await scan_status(settings)


def _rules(
    settings: Settings, figures: Mapping[str, RuleStats], paused: Mapping[str, float], now: float
) -> list[dict[str, Any]]:
    """Blobs, where they are mirrored; the rules of the settings in their order; then what the journal still holds of
    rules that the settings do not name any more."""
    from controlplane.wiring.s3_mirror import rule_name

    named: dict[str, dict[str, Any]] = {}
    if settings.persistent is not None or "" in figures:
        named[""] = {"mirrored_to": _place(settings.persistent)}
    for rule in settings.mirror.rules:
        named[rule_name(rule)] = {
            "buckets": rule.buckets,
            "prefix": rule.prefix,
            "deletes": rule.deletes,
            "read_through": rule.read_through,
            "mirrored_to": _place(rule.target),
        }
    for name, stats in figures.items():
        if stats.pending or stats.failed:
            named.setdefault(name, {"mirrored_to": None})
    return [
        {"name": name or BLOBS, **told, **_figures(figures.get(name), name in paused or EVERY_RULE in paused, now)}
        for name, told in named.items()
    ]


def _rate(
    name: str, before: Mapping[str, RuleStats], after: Mapping[str, RuleStats], seconds: float
) -> dict[str, float]:
    """Of what was verified at the target within the time that was watched; the counts are the journal's own."""
    from controlplane.model.rule_stats import RuleStats, copy_rate

    key = "" if name == BLOBS else name
    copies, volume = copy_rate(before.get(key, RuleStats()), after.get(key, RuleStats()), seconds)
    return {"copied_per_s": round(copies, 3), "copied_bytes_per_s": round(volume, 1)}


def _figures(stats: RuleStats | None, paused: bool, now: float) -> dict[str, Any]:
    from controlplane.model.rule_stats import RuleStats, lag_quantile
    from controlplane.model.stall import STALL_AFTER_S, stalled_s

    stats = stats or RuleStats()
    oldest = stats.oldest_enqueued_at
    still_s = stalled_s(stats, now, paused=paused)
    median, p99 = lag_quantile(stats, 0.5), lag_quantile(stats, 0.99)
    return {
        "paused": paused,
        "pending": stats.pending,
        "pending_bytes": stats.pending_bytes,
        "failed": stats.failed,
        "oldest_age_s": None if oldest is None else round(max(now - oldest, 0.0), 3),
        "copied": stats.copied,
        "copied_bytes": stats.copied_bytes,
        "last_progress_at": stats.progress_at or None,
        "lag_p50_within_s": _bound(median),
        "lag_p99_within_s": _bound(p99),
        "stalled": still_s > STALL_AFTER_S,
    }


def _bound(seconds: float | None) -> float | None:
    """JSON has no infinity: more than the largest bound is said as that bound's double."""
    from controlplane.model.tally import LAG_BOUNDS_S

    return LAG_BOUNDS_S[-1] * 2 if seconds == float("inf") else seconds


def _place(store: Store | None) -> str | None:
    match store:
        case None:
            return None
        case store if store.kind == "s3":
            return f"{store.endpoints[0]}/{store.bucket}/{store.prefix}"
        case store if store.kind in ("azure", "gcs"):
            return f"{store.endpoint}/{store.bucket}/{store.prefix}"
        case store if store.kind == "filesystem":
            return str(store.path)
        case store:
            return store.kind


def _tell(facts: dict[str, Any], *, late: bool) -> None:
    age = facts["oldest_age_s"]
    output.line(f"mirrored to:  {facts['mirrored_to'] or 'nothing: no persistent store is configured'}")
    for rule in facts["rules"]:
        if "buckets" in rule:
            extent = "" if rule["deletes"] else ", without deletes"
            extent += ", read through" if rule["read_through"] else ""
            output.line(f"S3 objects:   {rule['buckets']}/{rule['prefix']}* to {rule['mirrored_to']}{extent}")
    waiting = f", the oldest for {output.span(age)}" if age is not None else ""
    output.line(f"pending:      {facts['pending']} ({output.size(facts['pending_bytes'])}){waiting}")
    output.line(f"failed:       {facts['failed']}")
    used = facts["pending"] + facts["failed"]
    output.line(f"journal:      {used} of at most {facts['limit']} entries")
    output.line(f"blobs:        {', '.join(f'{count} {state}' for state, count in facts['blobs'].items())}")
    _tell_scan(facts["scan"])
    if facts["rules"]:
        output.table(
            ("RULE", "STATE", "PENDING", "BYTES", "OLDEST", "FAILED", "COPIED", "LAG P50", "P99"),
            [_row(rule) for rule in facts["rules"]],
        )
    for rule in facts["rules"]:
        if "copied_per_s" in rule:
            speed = f"{rule['copied_per_s']:g} objects/s, {output.size(int(rule['copied_bytes_per_s']))}/s"
            output.line(f"rate:         {rule['name']}: {speed}")
    if facts["failed"]:
        output.line("unhealthy:    copies were given up: see `millrace mirror failed`, then `millrace mirror retry`")
    if late:
        output.line("unhealthy:    the oldest copy is pending for too long: see `millrace doctor`")
    for rule in facts["rules"]:
        if rule["stalled"]:
            output.line(f"unhealthy:    {rule['name']} has work and does nothing: see the agent's log")


def _tell_scan(scan: dict[str, Any] | None) -> None:
    if scan is None:
        return
    if scan["error"]:
        output.line(f"scan:         not known: {scan['error']}")
    if scan["under_way"] is not None:
        now = scan["under_way"]
        nodes = ", ".join(
            f"{name} {each['keys']:,}{' (gone)' if each['there'] is False else ''}"
            for name, each in now["nodes"].items()
        )
        output.line(
            f"scan:         {_found(now['totals'])}, for {output.span(max(time.time() - now['started_at'], 0))}"
        )
        output.line(f"  by nodes:   {nodes or 'none so far'}")
    if scan["last"] is not None:
        ago = output.span(max(time.time() - scan["last"]["finished_at"], 0))
        output.line(f"last scan:    {ago} ago: {_found(scan['last']['totals'])}")
        _tell_notes(scan["last"])
    elif scan["under_way"] is None and not scan["error"]:
        output.line("scan:         none so far")


def _tell_notes(last: Mapping[str, Any]) -> None:
    """What the last scan left to be decided: deletions that the guard forbade, buckets that were not compared."""
    notes = last.get("notes", ())
    for told in notes:
        output.line(f"  attention:  {told}")
    more = last["failed_buckets"] + last["held_back_buckets"] - len(notes)
    if more > 0:
        output.line(f"  attention:  {more} more, see the agents' logs")
    if last["held_back_buckets"]:
        output.line("  if meant:   `millrace mirror backfill BUCKET --allow-deletes N` deletes them, for this once")


def _found(totals: Mapping[str, int]) -> str:
    return (
        f"{totals['listed_at_source']:,} keys compared, {totals['missing']} missing, {totals['different']} different, "
        f"{totals['extra']} extra"
    )


def _row(rule: dict[str, Any]) -> tuple[str, ...]:
    state = "paused" if rule["paused"] else "stalled" if rule["stalled"] else "behind" if rule["pending"] else "ok"
    age, median, p99 = rule["oldest_age_s"], rule["lag_p50_within_s"], rule["lag_p99_within_s"]
    return (
        rule["name"],
        state,
        str(rule["pending"]),
        output.size(rule["pending_bytes"]),
        "-" if age is None else output.span(age),
        str(rule["failed"]),
        f"{rule['copied']} ({output.size(rule['copied_bytes'])})",
        "-" if median is None else f"<={median:g} s",
        "-" if p99 is None else f"<={p99:g} s",
    )


def pause(arguments: Namespace) -> int:
    """The agents stop within a second; what is under way is finished. 3 when there is no such rule."""
    settings = node_settings(arguments)
    names = _chosen(arguments, settings, "pause")

    async def rest() -> None:
        async with open_for(settings) as journal:
            for name in names:
                await journal.pause(name, time.time())

    asyncio.run(rest())
    _say(arguments, {"paused": [_called(name) for name in names]}, "paused", names)
    return ExitCode.OK


def resume(arguments: Namespace) -> int:
    """3 when nothing of what is named was paused."""
    settings = node_settings(arguments)
    names = _chosen(arguments, settings, "resume")

    async def go_on() -> list[str]:
        async with open_for(settings) as journal:
            return [name for name in names if await journal.resume(name)]

    resumed = asyncio.run(go_on())
    _say(arguments, {"resumed": [_called(name) for name in resumed]}, "resumed", resumed)
    if not resumed:
        raise CommandFailed("none of these was paused: see `millrace mirror status`", ExitCode.NOT_FOUND)
    return ExitCode.OK


def _chosen(arguments: Namespace, settings: Settings, command: str) -> list[str]:
    if bool(arguments.rules) == arguments.all:
        raise UsageError(f"mirror {command}: name rules (`{BLOBS}` is the mirror of blobs), or --all")
    if arguments.all:
        return [EVERY_RULE]
    for name in arguments.rules:
        require_rule(settings, name)
    return ["" if name == BLOBS else name for name in arguments.rules]


def require_rule(settings: Settings, name: str) -> None:
    """Raise CommandFailed when the settings have no such rule."""
    from controlplane.wiring.s3_mirror import rule_name

    known = {BLOBS, *map(rule_name, settings.mirror.rules)}
    if name not in known:
        raise CommandFailed(f"there is no mirror rule {name}: there are {', '.join(sorted(known))}", ExitCode.NOT_FOUND)


def _called(name: str) -> str:
    return {"": BLOBS, EVERY_RULE: "all"}.get(name, name)


def _say(arguments: Namespace, document: dict[str, Any], done: str, names: list[str]) -> None:
    if arguments.json:
        output.document(document)
    else:
        for name in names:
            output.line(f"{done}: {_called(name)}")


def node_settings(arguments: Namespace) -> Settings:
    """The settings, once it is sure that there is a journal: looking must not make one."""
    settings = settings_source.load(arguments.config, data_dir=arguments.data_dir)
    data_dir = settings.node.data_dir
    settings_source.become_owner(data_dir)
    if settings.journal.kind == "sqlite" and not (data_dir / "journal.db").exists():
        raise CommandFailed(
            f"there is no journal in {data_dir}: name the node's settings with --config, or the place with --data-dir",
            ExitCode.NOT_FOUND,
        )
    return settings


@asynccontextmanager
async def open_for(settings: Settings) -> AsyncIterator[Journal]:
    from controlplane.wiring.adapters import open_journal

    journal = await open_journal(settings)
    try:
        yield journal
    finally:
        await journal.aclose()
