from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import uvloop

from controlplane.adapters.filesystem import FilesystemStore
from controlplane.adapters.system_clock import SystemClock
from tests.integration.gateway.serving import Served
from tests.support.fakes import PRIMARY, Node

Serve = Callable[..., Any]


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def serve(tmp_path: Path) -> AsyncIterator[Serve]:
    """Starts gateways; a spool must be empty when the test ends: no half file."""
    running: list[Served] = []

    async def start(
        *, primary: str = "memory", primary_path: Path | None = None, spool_path: Path | None = None, **settings: Any
    ) -> Served:
        number = len(running)
        limits = settings.pop("limits", None)
        api = {name: settings.pop(name) for name in ("anonymous_read", "max_blob_bytes") if name in settings}
        files = None
        if primary == "filesystem":
            files = FilesystemStore(PRIMARY, primary_path or tmp_path / f"primary{number}", clock=SystemClock())
            await files.open()
        node = Node(SystemClock(), spool_path or tmp_path / f"spool{number}", local_primary=files, **settings)
        served = Served(node, files)
        running.append(served)
        await served.start(limits, **api)
        return served

    yield start
    for served in running:
        await served.stop()
    for served in running:
        assert served.node.spool_files() == []


@pytest.fixture(params=["memory", "filesystem"])
async def gateway(request: pytest.FixtureRequest, serve: Serve) -> Served:
    """A gateway over each kind of primary: remote (memory), and local files that are sent as they are."""
    started: Served = await serve(primary=request.param)
    return started
