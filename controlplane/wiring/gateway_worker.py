"""One process of a gateway that has several. Only its supervisor runs it, with the descriptor of their channel."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys

from controlplane.adapters.change_board import ChangeBoard
from controlplane.adapters.node_locks import FileLocks
from controlplane.ports.errors import MillraceError
from controlplane.ports.hot_cache import CacheStats
from controlplane.status.admin_api import error_of
from controlplane.wiring.gateway_process import GatewayProcess
from controlplane.wiring.logs import set_up_logs
from controlplane.wiring.processes import foundation, on_signals, run
from controlplane.wiring.worker_channel import (
    Answer,
    Ask,
    Checks,
    Failed,
    Question,
    Ready,
    Start,
    Tallies,
    packed,
    receive,
    receive_start,
)
from controlplane.wiring.worker_share import SiblingShare, WorkerShare

log = logging.getLogger(__name__)


def main(arguments: list[str]) -> int:
    channel = socket.socket(fileno=int(arguments[0]))
    channel.set_inheritable(False)
    try:
        start = receive_start(channel)
    except EOFError:
        return 0
    settings = start.settings
    set_up_logs(settings.log.level, settings.node.name, "gateway", start.number)
    return run(_serve(start, channel))


async def _serve(start: Start, channel: socket.socket) -> int:
    stopped = on_signals()
    reader, writer = await asyncio.open_unix_connection(sock=channel)
    try:
        async with foundation(start.settings) as base:
            gateway = GatewayProcess(
                start.settings,
                primary=base.primary,
                persistent=base.persistent,
                s3_mirror=base.s3_mirror,
                journal=base.journal,
                catalog=base.catalog,
                clock=base.clock,
                share=_share(start),
            )
            await gateway.start()
            writer.write(packed(Ready(gateway.url, gateway.s3_url)))
            answering = asyncio.create_task(_answer(gateway, reader, writer, stopped))
            await stopped.wait()
            log.info("stopping")
            await gateway.stop()
            answering.cancel()
    except MillraceError as error:
        writer.write(packed(Failed(type(error), str(error))))
    finally:
        writer.close()
    return 0


async def _answer(
    gateway: GatewayProcess, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, stopped: asyncio.Event
) -> None:
    """Until the supervisor is gone: then nobody would replace this process, so it ends as it does on SIGTERM."""

    async def reply(question: Question) -> None:
        said: Tallies | Checks
        match question.ask:
            case Ask.TALLIES:
                said = _tallies(gateway)
            case Ask.CHECKS:
                checks = gateway.checks()
                errors = await asyncio.gather(*(error_of(check) for check in checks.values()))
                said = dict(zip(checks, errors, strict=True))
        writer.write(packed(Answer(question.number, said)))

    replies: set[asyncio.Task[None]] = set()
    while (message := await receive(reader)) is not None:
        task = asyncio.create_task(reply(message))
        replies.add(task)
        task.add_done_callback(replies.discard)
    log.error("the gateway's supervisor has gone")
    stopped.set()


def _tallies(gateway: GatewayProcess) -> Tallies:
    sources = gateway.sources
    assert sources.requests is not None
    assert sources.blobs is not None
    hot = sources.hot
    stats = hot if hot is None or isinstance(hot, CacheStats) else hot.stats()
    return Tallies(sources.requests, sources.blobs, sources.s3, stats)


def _share(start: Start) -> WorkerShare:
    data_dir = start.settings.node.data_dir
    boards = [ChangeBoard(fd) for fd in (start.evictions_fd, start.changes_fd)]
    for fd in (start.evictions_fd, start.changes_fd):
        os.close(fd)
    return WorkerShare(
        start.number,
        _listener(start.blobs_fd),
        _listener(start.s3_fd) if start.s3_fd >= 0 else None,
        evictions=boards[0],
        changes=boards[1],
        guids=FileLocks(data_dir / "gateway-guids.locks"),
        fills=FileLocks(data_dir / "gateway-fills.locks"),
        siblings=SiblingShare(
            _listener(start.sibling_fd),
            tuple(f"http://127.0.0.1:{port}" for n, port in enumerate(start.sibling_ports) if n != start.number),
            start.sibling_secret,
            FileLocks(data_dir / "gateway-fetches.locks"),
        ),
    )


def _listener(fd: int) -> socket.socket:
    found = socket.socket(fileno=fd)
    found.set_inheritable(False)
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
