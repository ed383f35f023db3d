"""Where a process listens, and its admin port."""

from __future__ import annotations

import logging
import socket
from collections.abc import Awaitable, Callable

from controlplane.http import HttpServer, Limits, bound
from controlplane.ports.clock import Clock
from controlplane.ports.errors import Rejected
from controlplane.ports.journal import Journal
from controlplane.settings.tree import Settings
from controlplane.status.admin_api import AdminApi, Check
from controlplane.status.sources import Sources
from controlplane.version import VERSION

log = logging.getLogger(__name__)


async def start_admin(
    settings: Settings,
    port: int,
    checks: dict[str, Check],
    sources: Sources | Callable[[], Awaitable[Sources]],
    journal: Journal,
    clock: Clock,
) -> HttpServer:
    """The admin port of a process."""
    api = AdminApi(checks, sources, journal, clock)
    server = HttpServer(api, Limits(max_body_bytes=0))
    host, port = await started(server, settings.admin.host, port, "admin.port and admin.agent_port")
    log.info("admin port listens on http://%s:%d", in_url(host), port)
    return server


async def started(server: HttpServer, host: str, port: int, setting: str) -> tuple[str, int]:
    return await server.start_on(await listener(host, port, setting))


async def listener(host: str, port: int, setting: str) -> socket.socket:
    """A bound socket. Raises Rejected when it cannot be had."""
    try:
        return await bound(host, port)
    except OSError as error:
        raise Rejected(
            f"cannot listen on {host} port {port}: {error.strerror}; `ss -ltnp` shows who holds it, or change {setting}"
        ) from error


def build_labels(settings: Settings) -> dict[str, str]:
    return {"version": VERSION, "cluster": settings.node.cluster, "node": settings.node.name}


def in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
