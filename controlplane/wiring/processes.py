"""The programs: gateway, agent, and both in one process for development. Each runs until SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import secrets
import signal
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop

from controlplane.adapters.system_clock import SystemClock
from controlplane.ports.catalog import Catalog
from controlplane.ports.clock import Clock
from controlplane.ports.journal import Journal
from controlplane.ports.object_store import ObjectStore
from controlplane.settings.secret import Secret
from controlplane.settings.stores import FilesystemStore
from controlplane.settings.tree import Admin, Gateway, Node, Scope, Settings, Token
from controlplane.wiring.adapters import (
    PERSISTENT,
    PRIMARY,
    build_directory,
    build_store,
    open_catalog,
    open_journal,
    open_upload_ledger,
    remove_surplus_folders,
)
from controlplane.wiring.admin_port import start_admin
from controlplane.wiring.begun import begun
from controlplane.wiring.logs import set_up_logs
from controlplane.wiring.node_lock import hold_node_lock

if TYPE_CHECKING:
    from controlplane.wiring.gateway_process import GatewayProcess
    from controlplane.wiring.s3_mirror import S3Mirror

log = logging.getLogger(__name__)


def run_gateway(settings: Settings) -> int:
    """`millrace gateway`: exit code 0 after an orderly stop."""
    set_up_logs(settings.log.level, settings.node.name, "gateway")
    return run(_gateway(settings) if settings.gateway.workers == 1 else _workers(settings))


def run_agent(settings: Settings) -> int:
    """`millrace agent`: exit code 0 after an orderly stop."""
    set_up_logs(settings.log.level, settings.node.name, "agent")
    return run(_agent(settings))


def run_dev(data_dir: Path, port: int | None, settings: Settings | None) -> int:
    """`millrace dev`: gateway and agent in one process; without settings over embedded stores below `data_dir`."""
    settings = settings or dev_settings(data_dir, port)
    set_up_logs(settings.log.level, settings.node.name, "dev")
    if settings.gateway.workers > 1:
        log.warning("millrace dev is one process: gateway.workers counts for `millrace gateway` only")
        settings = settings.model_copy(update={"gateway": settings.gateway.model_copy(update={"workers": 1})})
    return run(_dev(settings))


def dev_settings(data_dir: Path, port: int | None) -> Settings:
    """Embedded stores, an in-process directory, one token with all rights in `<data_dir>/dev.token`."""
    data_dir = data_dir.absolute()
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o750)
    token_file = data_dir / "dev.token"
    if not token_file.exists():
        with os.fdopen(os.open(token_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(24) + "\n")
    return Settings(
        node=Node(cluster="dev", data_dir=data_dir),
        gateway=Gateway() if port is None else Gateway(port=port),
        # With a port of its own it may run beside another one: its admin ports must not be the fixed ones.
        admin=Admin() if port is None else Admin(port=0, agent_port=0),
        tokens=(Token(name="dev", secret=Secret(token_file.read_text().strip()), scopes=frozenset(Scope)),),
        primary=FilesystemStore(path=data_dir / "primary"),
        persistent=FilesystemStore(path=data_dir / "persistent"),
    )


@dataclass(frozen=True, slots=True)
class Foundation:
    clock: Clock
    primary: ObjectStore
    persistent: ObjectStore | None
    s3_mirror: S3Mirror | None
    journal: Journal
    catalog: Catalog


@asynccontextmanager
async def foundation(settings: Settings, *roles: str) -> AsyncIterator[Foundation]:
    """Stores, journal and catalog. A store that is away does not stop the start (I10): it is asked when needed."""
    clock = SystemClock()
    settings.node.data_dir.mkdir(parents=True, exist_ok=True, mode=0o750)
    async with AsyncExitStack() as closing:
        for role in roles:
            closing.enter_context(hold_node_lock(settings.node.data_dir, role))
        # Their threads and the disk are at it while the stores' modules are loaded.
        opening_journal = await begun(open_journal(settings), closing)
        opening_catalog = await begun(open_catalog(settings), closing)
        primary = await build_store(PRIMARY, settings.primary, clock)
        closing.push_async_callback(primary.aclose)
        persistent = None
        if settings.persistent is not None:
            persistent = await build_store(PERSISTENT, settings.persistent, clock)
            closing.push_async_callback(persistent.aclose)
        s3_mirror = None
        if settings.mirror.rules:
            from controlplane.wiring.s3_mirror import open_s3_mirror

            s3_mirror = await open_s3_mirror(settings, primary, clock)
            if s3_mirror is not None:
                closing.push_async_callback(s3_mirror.aclose)
        journal, catalog = await opening_journal, await opening_catalog
        # What was loaded by now stays: the collector need not walk through it again and again.
        gc.freeze()
        yield Foundation(clock, primary, persistent, s3_mirror, journal, catalog)


async def _gateway(settings: Settings) -> int:
    stopped = on_signals()
    async with foundation(settings, "gateway") as base:
        remove_surplus_folders(settings)
        gateway = _new_gateway(settings, base)
        await gateway.start()
        admin = await start_admin(
            settings, settings.admin.port, gateway.checks(), gateway.sources, base.journal, base.clock
        )
        await stopped.wait()
        log.info("stopping")
        await gateway.stop()
        await admin.stop(1.0)
    return 0


async def _workers(settings: Settings) -> int:
    from controlplane.wiring.supervisor import supervise

    return await supervise(settings, on_signals())


async def _agent(settings: Settings) -> int:
    stopped = on_signals()
    # Copies leave no cycles behind, and make many objects: the collector would take a twentieth of their time.
    gc.set_threshold(50_000, 20, 100)
    async with foundation(settings, "agent") as base:
        await _with_agent(settings, base, _own_url(settings), stopped)
    return 0


async def _dev(settings: Settings) -> int:
    stopped = on_signals()
    async with foundation(settings, "gateway", "agent") as base:
        gateway = _new_gateway(settings, base)
        await gateway.start()
        admin = await start_admin(
            settings, settings.admin.port, gateway.checks(), gateway.sources, base.journal, base.clock
        )
        try:
            await _with_agent(settings, base, gateway.url, stopped)
        finally:
            await gateway.stop()
            await admin.stop(1.0)
    return 0


async def _with_agent(settings: Settings, base: Foundation, gateway_url: str, stopped: asyncio.Event) -> None:
    async with AsyncExitStack() as closing:
        opening_uploads = await begun(open_upload_ledger(settings), closing)
        # Not at the top: the gateway does not need what the agent imports.
        from controlplane.wiring.agent_process import AgentProcess

        directory = build_directory(settings, base.clock)
        closing.push_async_callback(directory.aclose)
        agent = AgentProcess(
            settings,
            primary=base.primary,
            persistent=base.persistent,
            s3_mirror=base.s3_mirror,
            journal=base.journal,
            catalog=base.catalog,
            uploads=await opening_uploads,
            directory=directory,
            gateway_url=gateway_url,
            clock=base.clock,
        )
        agent.start()
        admin = await start_admin(
            settings, settings.admin.agent_port, agent.checks(), agent.sources, base.journal, base.clock
        )
        try:
            await stopped.wait()
            log.info("stopping")
        finally:
            await agent.stop()
            await admin.stop(1.0)


def _new_gateway(settings: Settings, base: Foundation) -> GatewayProcess:
    # Not at the top: the agent does not need it.
    from controlplane.wiring.gateway_process import GatewayProcess

    return GatewayProcess(
        settings,
        primary=base.primary,
        persistent=base.persistent,
        s3_mirror=base.s3_mirror,
        journal=base.journal,
        catalog=base.catalog,
        clock=base.clock,
    )


def _own_url(settings: Settings) -> str:
    """Where this node's gateway listens, seen from this node."""
    gateway = settings.gateway
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(gateway.host, gateway.host)  # noqa: S104 - compared, not bound
    return f"{'https' if gateway.tls.cert_file else 'http'}://{host}:{gateway.port}"


def on_signals() -> asyncio.Event:
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    return stopped


def run(program: Coroutine[None, None, int]) -> int:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(program)
