"""`millrace gc status|halt`: whose Riak CS collects the garbage, and what the one on this machine does."""

from __future__ import annotations

import asyncio
import time
from argparse import Namespace
from typing import TYPE_CHECKING, Any

from controlplane.cli import output, settings_source
from controlplane.cli.exit_codes import ExitCode, UsageError

if TYPE_CHECKING:
    from controlplane.ports.garbage_collector import GarbageCollector
    from controlplane.settings.tree import Settings


def status(arguments: Namespace) -> int:
    """1 when no node holds the duty, or the local node collects without it."""
    settings = _settings(arguments)
    facts = asyncio.run(look(settings, settings.gc.command_timeout_s))
    if arguments.json:
        output.document(facts)
    else:
        _tell(facts)
    return ExitCode.OK if facts["healthy"] else ExitCode.FAILED


def halt(arguments: Namespace) -> int:
    """Timer off, batch cancelled, on this machine. An agent that holds the duty starts the next batch in its time."""
    settings = _settings(arguments)
    asyncio.run(_collector(settings).halt(settings.gc.command_timeout_s))
    output.line("no garbage is collected here")
    return ExitCode.OK


async def look(settings: Settings, within_s: float) -> dict[str, Any]:
    """Who has the duty, by etcd, and what the local Riak CS does. Raises Unavailable, Rejected."""
    from controlplane.adapters.system_clock import SystemClock
    from controlplane.model.lock_plan import read_claim
    from controlplane.wiring.adapters import build_directory
    from controlplane.wiring.agent_process import GC_LOCK

    directory = build_directory(settings, SystemClock())
    try:
        there = await directory.get(GC_LOCK)
    finally:
        await directory.aclose()
    claim = None if there is None else read_claim(there.value, there.revision)
    local = await _collector(settings).state(within_s)
    holder = claim.holder if claim is not None else ""
    active = local.collecting or local.scheduled
    return {
        "holder": holder or None,
        "since": claim.since if claim is not None and holder else None,
        "node": settings.node.name,
        "collecting": local.collecting,
        "scheduled": local.scheduled,
        "healthy": bool(holder) and (holder == settings.node.name or not active) and not local.scheduled,
    }


def _tell(facts: dict[str, Any]) -> None:
    if facts["holder"] is None:
        output.complain("no node holds the duty: nobody collects garbage")
    else:
        since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(facts["since"]))
        output.line(f"duty: {facts['holder']}, since {since}")
    if facts["scheduled"]:
        output.complain(f"the timer of Riak CS's own collection is on here ({facts['node']})")
    output.line(f"here ({facts['node']}): {'collecting' if facts['collecting'] else 'idle'}")


def _collector(settings: Settings) -> GarbageCollector:
    from controlplane.adapters.riak_cs_gc import RiakCsCollector
    from controlplane.adapters.system_clock import SystemClock

    assert settings.gc.socket is not None
    return RiakCsCollector(settings.gc.socket, SystemClock())


def _settings(arguments: Namespace) -> Settings:
    settings = settings_source.load(arguments.config)
    if settings.gc.socket is None:
        raise UsageError(
            "the settings name no Riak CS on this machine (gc.socket): ask on a node whose agent has a part in it"
        )
    return settings
