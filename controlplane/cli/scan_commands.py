"""`millrace mirror diff|verify|backfill`: Riak CS compared with its copies, key by key."""

from __future__ import annotations

import asyncio
import signal
from argparse import Namespace
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from controlplane.cli import output
from controlplane.cli.exit_codes import CommandFailed, ExitCode
from controlplane.cli.mirror_commands import node_settings
from controlplane.cli.progress import counter

if TYPE_CHECKING:
    from controlplane.model.scan_join import Difference
    from controlplane.model.scan_state import Unit
    from controlplane.services.scan_run import Report
    from controlplane.services.scan_unit import Sink
    from controlplane.wiring.mirror_tools import MirrorTools


class Printed:
    """Implements Sink: a line for each difference. With `then`, the differences go there as well."""

    def __init__(self, *, as_json: bool, then: Sink | None = None) -> None:
        self._json = as_json
        self._then = then

    async def take(self, unit: Unit, differences: Sequence[Difference]) -> int:
        for one in differences:
            if self._json:
                output.record(
                    {
                        "kind": one.kind.value,
                        "rule": unit.rule.name,
                        "bucket": unit.bucket,
                        "key": one.key,
                        "size": one.size,
                        "etag": one.etag,
                    }
                )
            else:
                output.line(f"{one.kind.value:<9}  {output.size(one.size):>10}  {unit.bucket}/{one.key}")
        return 0 if self._then is None else await self._then.take(unit, differences)


def diff(arguments: Namespace) -> int:
    """What differs, by the listings and the catalog. 1 when something does, 4 when a bucket could not be compared."""

    def sink(_: MirrorTools) -> Sink:
        return Printed(as_json=arguments.json)

    return _conclude(arguments, _run(arguments, "comparing", sink))


def verify(arguments: Namespace) -> int:
    """The same, each copy asked for at its target; with --read, its bytes. 6 when bytes are damaged."""

    def sink(tools: MirrorTools) -> Sink:
        return Printed(as_json=arguments.json, then=tools.queue() if arguments.repair else None)

    report = _run(arguments, "verifying", sink, trust_catalog=False, read=arguments.read)
    return _conclude(arguments, report)


def backfill(arguments: Namespace) -> int:
    """Puts into the journal what is missing or different; the agent copies it. 1 when the guard forbade deletions."""

    def sink(tools: MirrorTools) -> Sink:
        return tools.queue()

    what = f"backfill {arguments.what} {arguments.prefix!r} {arguments.allow_deletes}"
    report = _run(
        arguments, "comparing", sink, allowed_deletes=arguments.allow_deletes, resumable_as=what, alone="backfill"
    )
    return _conclude(arguments, report, is_backfill=True)


def _run(
    arguments: Namespace, doing: str, sink: Callable[[MirrorTools], Sink], *, alone: str = "", **options: Any
) -> Report:
    settings = node_settings(arguments)

    async def run() -> Report:
        from controlplane.wiring.mirror_tools import open_mirror_tools

        async with open_mirror_tools(settings, alone=alone) as tools:
            with counter(doing, "keys", quiet=arguments.quiet) as meter:
                scan = tools.scan(sink(tools), on_keys=meter.moved, **options)
                loop = asyncio.get_running_loop()
                # What is done is kept, so that the next call goes on from there.
                loop.add_signal_handler(signal.SIGTERM, scan.stop)
                loop.add_signal_handler(signal.SIGINT, scan.stop)
                report = await scan.run(chooser(arguments.what, arguments.prefix))
            if not report.complete and not options.get("resumable_as"):
                raise CommandFailed("stopped: what was told is not all", ExitCode.INTERRUPTED)
            return report

    return asyncio.run(run())


def chooser(what: str | None, prefix: str) -> Callable[[Unit], Unit | None]:
    """The units of a rule or of a bucket (None: all), as far as they are below the prefix."""

    def choose(unit: Unit) -> Unit | None:
        from controlplane.model.scan_state import Unit as Narrower

        if what is not None and what not in (unit.rule.name, unit.bucket):
            return None
        if prefix.startswith(unit.prefix):
            return Narrower(unit.rule, unit.bucket, prefix)
        return unit if unit.prefix.startswith(prefix) else None

    return choose


def require_something(arguments: Namespace, report: Report) -> None:
    """Raise CommandFailed when nothing was asked for that there is."""
    if report.complete and not report.units and not report.totals.listed_at_source:
        what = arguments.what or "the rules"
        raise CommandFailed(
            f"nothing to compare: no bucket of Riak CS is mirrored by {what}"
            + (f" below {arguments.prefix!r}" if arguments.prefix else ""),
            ExitCode.NOT_FOUND,
        )


def _conclude(arguments: Namespace, report: Report, *, is_backfill: bool = False) -> int:
    require_something(arguments, report)
    if arguments.json:
        output.record(_summary(report))
    else:
        _tell(report, is_backfill=is_backfill)
    for unit in report.units:
        if unit.error:
            output.error(f"{unit.unit.bucket}: not compared to its end: {unit.error}")
        if unit.held_back:
            output.error(f"{unit.unit.bucket}: nothing is deleted at the target: {unit.held_back}; see --allow-deletes")
    if not report.complete:
        raise CommandFailed("stopped; the same command goes on from here", ExitCode.INTERRUPTED)
    if report.failed:
        return ExitCode.UNAVAILABLE
    if is_backfill:
        return ExitCode.FAILED if report.held_back else ExitCode.OK
    if report.totals.damaged:
        return ExitCode.CORRUPT
    return ExitCode.FAILED if report.totals.differences else ExitCode.OK


def _summary(report: Report) -> dict[str, Any]:
    return {
        "summary": {
            **report.totals.encoded(),
            "complete": report.complete,
            "failed_buckets": report.failed,
            "held_back_buckets": report.held_back,
        }
    }


def _tell(report: Report, *, is_backfill: bool) -> None:
    counts = report.totals
    output.line(
        f"{counts.listed_at_source} objects in Riak CS, {counts.listed_at_target} at the targets: {counts.same} equal, "
        f"{counts.missing} missing, {counts.different} different, {counts.damaged} damaged, {counts.extra} extra"
        + (f", {counts.foreign} of others" if counts.foreign else "")
    )
    if is_backfill or counts.enqueued:
        output.line(
            f"{counts.enqueued} copies and {counts.deletes_enqueued} deletions are in the journal: "
            "`millrace mirror status` shows them drain"
        )
