"""`millrace mirror restore|prewarm`: from the copies back into Riak CS."""

from __future__ import annotations

import asyncio
from argparse import Namespace
from typing import TYPE_CHECKING, Any

from controlplane.cli import output
from controlplane.cli.exit_codes import ExitCode, UsageError
from controlplane.cli.mirror_commands import node_settings
from controlplane.cli.progress import counter
from controlplane.cli.scan_commands import chooser, require_something

if TYPE_CHECKING:
    from controlplane.model.scan_state import Unit
    from controlplane.services.restoring import Restored
    from controlplane.services.scan_run import Report


def restore(arguments: Namespace) -> int:
    """All that the targets have and Riak CS does not. 4 when some could not be put back; the same command goes on."""
    if arguments.as_of is not None and arguments.up_to is not None:
        raise UsageError("--as-of and --up-to both name a point in the journal: give one of them")
    return _restore(
        arguments,
        "restoring",
        only_read_through=False,
        as_of=arguments.as_of,
        up_to=arguments.up_to,
        also_deleted=arguments.deleted,
    )


def prewarm(arguments: Namespace) -> int:
    """The same under the rules that read through: what readers would otherwise wait for."""
    return _restore(arguments, "warming", only_read_through=True, as_of=None)


def _restore(
    arguments: Namespace,
    doing: str,
    *,
    only_read_through: bool,
    as_of: float | None,
    up_to: int | None = None,
    also_deleted: bool = False,
) -> int:
    settings = node_settings(arguments)
    narrow = chooser(arguments.what, arguments.prefix)

    def choose(unit: Unit) -> Unit | None:
        return None if only_read_through and not unit.rule.read_through else narrow(unit)

    async def run() -> tuple[Report, Restored]:
        from controlplane.model.hybrid_clock import last_stamp
        from controlplane.wiring.mirror_tools import open_mirror_tools

        async with open_mirror_tools(settings, alone="restore") as tools:
            with counter(doing, "objects", quiet=arguments.quiet) as meter:
                last = up_to if as_of is None else last_stamp(as_of)
                restorer = tools.restorer(
                    up_to_seq=last,
                    moved=meter.moved,
                    only_read_through=only_read_through,
                    also_deleted=also_deleted,
                )
                scan = tools.scan(restorer, on_keys=lambda _: None)
                return await scan.run(choose), restorer.result

    report, result = asyncio.run(run())
    require_something(arguments, report)
    if arguments.json:
        output.document(_facts(report, result))
    else:
        output.line(f"{result.objects} objects put back, {output.size(result.bytes)}")
        if result.left_alone:
            output.line(f"{result.left_alone} left alone: deleted, or written again meanwhile")
        if result.deleted:
            how = "" if only_read_through else " (see --deleted)"
            output.line(f"{result.deleted} left alone: deleted, and their copies are about to go{how}")
        if result.newer:
            output.line(f"{result.newer} were written after that time: what they were then, no copy has")
    for unit in report.units:
        if unit.error:
            output.error(f"{unit.unit.bucket}: {unit.error}")
    for failure in result.failures:
        output.error(f"not put back: {failure}")
    return ExitCode.UNAVAILABLE if report.failed or result.failed else ExitCode.OK


def _facts(report: Report, result: Restored) -> dict[str, Any]:
    return {
        "restored": result.objects,
        "restored_bytes": result.bytes,
        "left_alone": result.left_alone,
        "deleted": result.deleted,
        "newer": result.newer,
        "failed": result.failed,
        "failed_buckets": report.failed,
    }
