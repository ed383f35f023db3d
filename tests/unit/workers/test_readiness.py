"""Readiness of a gateway of several workers: what hangs is what is said to hang, and nothing else (I10)."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any, cast

from controlplane.http import Request, Response
from controlplane.http.body import NO_BODY
from controlplane.http.head import HeaderBlock
from controlplane.http.limits import Limits
from controlplane.settings.tree import Settings
from controlplane.status.admin_api import AdminApi, Check, error_of
from controlplane.status.sources import Sources
from controlplane.wiring.supervisor import Supervisor
from controlplane.wiring.worker_channel import Ask, Checks
from controlplane.wiring.worker_handle import WorkerHandle
from tests.support.virtual_time import VirtualClock


class Worker:
    """Looks at its parts as a worker does; `hangs`: the one that gives no answer."""

    number = 0
    serving = True

    def __init__(self, parts: list[str], hangs: str, clock: VirtualClock) -> None:
        self._parts = parts
        self._hangs = hangs
        self._clock = clock

    async def ask(self, ask: Ask) -> Checks:
        assert ask is Ask.CHECKS
        checks = [Check(lambda name=name: self._look(name), needed=True) for name in self._parts]  # type: ignore[misc]
        return dict(zip(self._parts, await asyncio.gather(*map(error_of, checks)), strict=True))

    async def _look(self, name: str) -> None:
        if name == self._hangs:
            await self._clock.sleep(3600)


def supervisor(path: Path, hangs: str, clock: VirtualClock) -> Supervisor:
    persistent = {"kind": "filesystem", "path": str(path / "far")}
    settings = Settings.model_validate({"node": {"data_dir": str(path)}, "persistent": persistent})
    made = Supervisor(settings, [], ())
    parts = [name for name in made.checks() if name != "workers"]
    made._workers = [cast(WorkerHandle, Worker(parts, hangs, clock)) for _ in range(2)]
    return made


async def ready(made: Supervisor, clock: VirtualClock) -> tuple[int, dict[str, Any]]:
    request = Request("GET", b"/readyz", HeaderBlock(b"Host: a\r\n", Limits()), "test", NO_BODY)
    answer = AdminApi(made.checks(), Sources(), None, clock)(request)
    response = answer if isinstance(answer, Response) else await answer
    assert isinstance(response.body, bytes)
    return response.status, json.loads(response.body)["checks"]


async def test_i10_a_persistent_store_that_hangs_is_said_and_takes_no_gateway_away(
    clock: VirtualClock, tmp_path: Path
) -> None:
    status, checks = await ready(supervisor(tmp_path, "persistent", clock), clock)
    assert status == 200
    assert [name for name, found in checks.items() if not found["ok"]] == ["persistent"]
    assert checks["persistent"]["error"] == "worker 0: no answer within 7 s"


async def test_what_is_needed_and_hangs_takes_it_away(clock: VirtualClock, tmp_path: Path) -> None:
    status, checks = await ready(supervisor(tmp_path, "journal", clock), clock)
    assert status == 503
    assert [name for name, found in checks.items() if not found["ok"]] == ["journal"]
