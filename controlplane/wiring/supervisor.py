"""A gateway of several processes: they are started, replaced when they die, asked for what the admin port tells, and
stopped together.

The supervisor binds the ports, and the workers accept from the sockets that they inherit. With sockets of their own
(SO_REUSEPORT) the connections in the queue of a worker that dies would be lost, and a worker that hangs would go on
getting its share. The node's lock is inherited too: while any worker lives, no other gateway begins in its folders.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any, Final

from controlplane.adapters.change_board import create_board
from controlplane.adapters.system_clock import SystemClock
from controlplane.model.tally import BlobTally, RequestTally, WorkerTally
from controlplane.ports.errors import Unavailable
from controlplane.ports.hot_cache import CacheStats, TierStats
from controlplane.settings.tree import Settings
from controlplane.status.admin_api import PATIENCE_S, Check
from controlplane.status.sources import Sources
from controlplane.wiring.adapters import open_journal, remove_surplus_folders
from controlplane.wiring.admin_port import build_labels, listener, start_admin
from controlplane.wiring.gateway_process import NEEDED, checked_parts
from controlplane.wiring.node_lock import hold_node_lock
from controlplane.wiring.worker_channel import Ask, Checks, Failed, Start, Tallies
from controlplane.wiring.worker_handle import WorkerHandle

log = logging.getLogger(__name__)

_PAUSE_FIRST_S: Final = 0.25
_PAUSE_MOST_S: Final = 30.0
_STABLE_S: Final = 60.0
"""Who lived for so long is replaced at once again."""
_GATHER_S: Final = 5.0
"""How often tallies are fetched, so that little of them dies with a worker."""
_PATIENCE_S: Final = PATIENCE_S + 1.0
"""A worker's own checks end within PATIENCE_S: who has not answered by then hangs, or is just starting."""
_CHECK_S: Final = _PATIENCE_S + 1.0
"""For what readiness looks at: after all workers have said what they found, or are given up. A check that ended before
would fail for a part that is not needed, as one for those that are."""
_LEAVE_S: Final = 15.0
"""After the grace: for the clean-up of cancelled requests, and of what they have begun."""


class Supervisor:
    def __init__(self, settings: Settings, starts: list[Start], inherited: tuple[int, ...]) -> None:
        self._settings = settings
        self._starts = starts
        self._inherited = inherited
        self._workers: list[WorkerHandle] = []
        self._last: dict[int, Tallies] = {}
        """What each worker that lives said last."""
        self._requests, self._blobs, self._s3 = RequestTally(), BlobTally(), RequestTally()
        """Of workers that are gone: counters of the node never step back."""
        self._tally = WorkerTally(len(starts))
        self._stopping = False
        self._looking: asyncio.Task[list[Checks | Unavailable]] | None = None

    async def start(self) -> None:
        """Returns when all serve. Raises what kept one from it, or OSError."""
        self._workers = [WorkerHandle(start, self._inherited) for start in self._starts]
        for worker in self._workers:
            await worker.begin()
        for worker in self._workers:
            said = await worker.said
            if isinstance(said, Failed):
                raise said.kind(said.text)
        log.info("%d workers serve", len(self._workers))

    async def keep(self) -> None:
        """Replace whoever ends, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for number in range(len(self._workers)):
                group.create_task(self._keep(number))
            group.create_task(self._gather())

    async def stop(self) -> None:
        """End all within the grace."""
        self._stopping = True
        for worker in self._workers:
            worker.send(signal.SIGTERM)
        ends = [asyncio.create_task(worker.ended()) for worker in self._workers]
        _, late = await asyncio.wait(ends, timeout=self._settings.gateway.shutdown_grace_s + _LEAVE_S)
        if late:
            log.error("%d workers have not ended by themselves: they are killed", len(late))
            for worker in self._workers:
                worker.send(signal.SIGKILL)
            await asyncio.wait(late)

    def checks(self) -> dict[str, Check]:
        """A part is sound when it is to every worker."""
        return {
            "workers": Check(self._all_serve, needed=True),
            **{
                name: Check(self._checking(name), needed=NEEDED[name], patience_s=_CHECK_S)
                for name in checked_parts(self._settings)
            },
        }

    async def sources(self) -> Sources:
        """The sums over all workers, those that are gone included."""
        await asyncio.gather(*(self._fetch(worker) for worker in self._workers))
        requests, blobs, s3 = RequestTally(), BlobTally(), RequestTally()
        requests.add(self._requests)
        blobs.add(self._blobs)
        s3.add(self._s3)
        for said in self._last.values():
            requests.add(said.requests)
            blobs.add(said.blobs)
            if said.s3 is not None:
                s3.add(said.s3)
        self._tally.serving = sum(worker.serving for worker in self._workers)
        return Sources(
            requests=requests,
            blobs=blobs,
            s3=s3 if self._settings.s3.endpoints else None,
            hot=_total([said.hot for said in self._last.values() if said.hot is not None]),
            labels=build_labels(self._settings),
            workers=self._tally,
        )

    # Replacing

    async def _keep(self, number: int) -> None:
        failures = 0
        while True:
            began = time.monotonic()
            worker = self._workers[number]
            how = await worker.ended()
            if self._stopping:
                return
            self._retire(number)
            failures = 0 if time.monotonic() - began > _STABLE_S else failures + 1
            pause = min(_PAUSE_FIRST_S * 2.0 ** max(failures - 1, 0), _PAUSE_MOST_S)
            log.error("worker %d has ended (%s): another one begins in %.2g s", number, how, pause)
            await asyncio.sleep(pause)
            self._tally.restarts += 1
            await self._replace(number)

    async def _replace(self, number: int) -> None:
        worker = self._workers[number] = WorkerHandle(self._starts[number], self._inherited)
        try:
            await worker.begin()
            said = await worker.said
        except (OSError, Unavailable) as error:
            log.error("worker %d did not start: %s", number, error)  # noqa: TRY400 - the worker has said more
            return
        if isinstance(said, Failed):
            log.error("worker %d did not start: %s", number, said.text)

    def _retire(self, number: int) -> None:
        said = self._last.pop(number, None)
        if said is not None:
            self._requests.add(said.requests)
            self._blobs.add(said.blobs)
            if said.s3 is not None:
                self._s3.add(said.s3)

    # Asking

    async def _gather(self) -> None:
        while True:
            await asyncio.sleep(_GATHER_S)
            await asyncio.gather(*(self._fetch(worker) for worker in self._workers))

    async def _fetch(self, worker: WorkerHandle) -> None:
        try:
            async with asyncio.timeout(_GATHER_S):
                said = await worker.ask(Ask.TALLIES)
        except (Unavailable, TimeoutError):
            return  # what it said last stands
        if self._workers[worker.number] is worker and worker.serving:
            self._last[worker.number] = said

    async def _all_serve(self) -> None:
        away = [str(worker.number) for worker in self._workers if not worker.serving]
        if away:
            raise Unavailable(f"of {len(self._workers)} workers number {', '.join(away)} does not serve: see the log")

    def _checking(self, name: str) -> Callable[[], Awaitable[None]]:
        async def check() -> None:
            if self._looking is None or self._looking.done():
                self._looking = asyncio.create_task(self._look())
            for number, found in enumerate(await asyncio.shield(self._looking)):
                if isinstance(found, Unavailable):
                    raise found
                if found.get(name):
                    raise Unavailable(f"worker {number}: {found[name]}")

        return check

    async def _look(self) -> list[Checks | Unavailable]:
        async def of(worker: WorkerHandle) -> Checks | Unavailable:
            try:
                async with asyncio.timeout(_PATIENCE_S):
                    found: Checks = await worker.ask(Ask.CHECKS)
            except Unavailable as error:
                return error
            except TimeoutError:
                return Unavailable(f"worker {worker.number} does not answer within {_PATIENCE_S:g} s")
            return found

        return await asyncio.gather(*(of(worker) for worker in self._workers))


def _total(caches: list[CacheStats]) -> CacheStats | None:
    if not caches:
        return None
    return CacheStats(
        entries=sum(each.entries for each in caches),
        bytes=sum(each.bytes for each in caches),
        limit_bytes=sum(each.limit_bytes for each in caches),
        hits=sum(each.hits for each in caches),
        misses=sum(each.misses for each in caches),
        evictions=sum(each.evictions for each in caches),
        tier=_tier([each.tier for each in caches if each.tier is not None]),
    )


def _tier(tiers: list[TierStats]) -> TierStats | None:
    if not tiers:
        return None
    return TierStats(
        recalled=sum(each.recalled for each in tiers),
        wrong=sum(each.wrong for each in tiers),
        away=any(each.away for each in tiers),
    )


async def supervise(settings: Settings, stopped: asyncio.Event) -> int:
    """Run a gateway of several processes until `stopped`. Raises what kept it from serving."""
    clock = SystemClock()
    settings.node.data_dir.mkdir(parents=True, exist_ok=True, mode=0o750)
    async with AsyncExitStack() as closing:
        lock = closing.enter_context(hold_node_lock(settings.node.data_dir, "gateway"))
        remove_surplus_folders(settings)
        journal = await open_journal(settings)  # made, and brought up to date, by one
        closing.push_async_callback(journal.aclose)
        gateway, s3 = settings.gateway, settings.s3
        sockets = [await listener(gateway.host, gateway.port, "gateway.port")]
        closing.callback(_close, sockets)
        if s3.endpoints:
            sockets.append(await listener(s3.host, s3.port, "s3.port"))
        boards = create_board(), create_board()
        for fd in boards:
            closing.callback(os.close, fd)
        s3_fd = sockets[1].fileno() if s3.endpoints else -1
        siblings = [await listener("127.0.0.1", 0, "gateway.workers") for _ in range(gateway.workers)]
        closing.callback(_close, siblings)
        ports = tuple(each.getsockname()[1] for each in siblings)
        secret = secrets.token_urlsafe(32)
        starts = [
            Start(settings, number, sockets[0].fileno(), s3_fd, *boards, own.fileno(), ports, secret)
            for number, own in enumerate(siblings)
        ]
        supervisor = Supervisor(settings, starts, (lock,))
        closing.push_async_callback(supervisor.stop)
        closing.callback(_close, sockets)  # first of all: nobody connects any more
        if not await _unless(stopped, supervisor.start()):
            return 0
        admin = await start_admin(
            settings, settings.admin.port, supervisor.checks(), supervisor.sources, journal, clock
        )
        closing.push_async_callback(admin.stop, 1.0)
        await _unless(stopped, supervisor.keep())
        log.info("stopping")
        _close(sockets)
        await supervisor.stop()
    return 0


async def _unless(stopped: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Do the work, but give it up when told to stop; whether it was done."""
    task, stop = asyncio.ensure_future(work), asyncio.ensure_future(stopped.wait())
    await asyncio.wait((task, stop), return_when=asyncio.FIRST_COMPLETED)
    stop.cancel()
    if not task.done():
        task.cancel()
        await asyncio.wait((task,))
        return False
    task.result()
    return True


def _close(sockets: list[socket.socket]) -> None:
    for each in sockets:
        each.close()
