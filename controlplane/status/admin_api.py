"""/healthz: the process lives. /readyz: it can do its work, and what is wrong if not. /metrics: Prometheus."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from controlplane.http import Request, Response
from controlplane.ports.clock import Clock
from controlplane.ports.errors import MillraceError
from controlplane.ports.journal import Journal
from controlplane.status.sources import Sources

log = logging.getLogger(__name__)

_REMEMBER_S = 1.0
PATIENCE_S = 7.0
"""With one check: a host that has lost its power is found within it, and another one asked."""
_HOLD_UP_S = 0.5
"""The longest that a look holds up who asks, while what the one before found still stands: a balancer that waits 3 s
would take every gateway for dead because one node behind them is."""
_STANDS_S = 10.0


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that readiness looks at."""

    run: Callable[[], Awaitable[object]]
    needed: bool
    """Not ready without it; otherwise its failure is said, and the service goes on (I10)."""
    patience_s: float = PATIENCE_S


class AdminApi:
    """The admin port's handler. Checks run at once and are remembered for a second, so that probes cost little. While a
    look takes long, what the last one found is said, at most _STANDS_S after its end: who hangs is not ready when a
    check has given up, and not before."""

    def __init__(
        self,
        checks: Mapping[str, Check],
        sources: Sources | Callable[[], Awaitable[Sources]],
        journal: Journal | None,
        clock: Clock,
    ) -> None:
        """`sources`: what this process counts, or what gathers it when it is asked for."""
        self._checks = checks
        self._sources = sources
        self._journal = journal
        self._clock = clock
        self._looked_at = float("-inf")
        self._found: dict[str, str] = {}
        self._looking: asyncio.Task[None] | None = None

    def __call__(self, request: Request) -> Response | Awaitable[Response]:
        if request.method not in ("GET", "HEAD"):
            return Response(405, [(b"allow", b"GET, HEAD")], b"method not allowed\n")
        match request.path:
            case "/healthz":
                return Response(200, _TEXT, b"ok\n")
            case "/readyz":
                return self._ready()
            case "/metrics":
                return self._metrics()
            case _:
                return Response(404, _TEXT, b"here are /healthz, /readyz and /metrics\n")

    async def _ready(self) -> Response:
        found = await self._found_now()
        ready = not any(found[name] and check.needed for name, check in self._checks.items())
        body = {
            "ready": ready,
            "checks": {
                name: {"ok": not found[name], "needed": check.needed, "error": found[name] or None}
                for name, check in self._checks.items()
            },
        }
        headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
        return Response(200 if ready else 503, headers, json.dumps(body, indent=2).encode() + b"\n")

    async def _found_now(self) -> dict[str, str]:
        age = self._clock.monotonic() - self._looked_at
        if age > _REMEMBER_S:
            if self._looking is None or self._looking.done():
                self._looking = asyncio.get_running_loop().create_task(self._look())
            await asyncio.wait({self._looking}, timeout=_HOLD_UP_S if age < _STANDS_S else None)
        return self._found

    async def _look(self) -> None:
        errors = await asyncio.gather(*(error_of(check) for check in self._checks.values()))
        self._found = dict(zip(self._checks, errors, strict=True))
        self._looked_at = self._clock.monotonic()

    async def _metrics(self) -> Response:
        # Not at the top: nobody may ever ask, and it brings in an HTTP server of its own.
        from controlplane.status.exposition import CONTENT_TYPE, render

        stats, rules, paused = None, None, None
        sources = self._sources if isinstance(self._sources, Sources) else await self._sources()
        if self._journal is not None:
            # The journal's own failure is readiness's to tell; the other metrics are still worth having.
            with contextlib.suppress(MillraceError):
                stats = await self._journal.stats()
                if sources.mirror is not None:  # it is the mirror's to tell, though both processes see it
                    rules, paused = await self._journal.rules(), await self._journal.paused()
        text = render(sources, stats, self._clock.now(), rules, paused or ())
        return Response(200, [(b"content-type", CONTENT_TYPE)], text)


_TEXT = [(b"content-type", b"text/plain; charset=utf-8"), (b"cache-control", b"no-store")]


async def error_of(check: Check) -> str:
    """What is wrong; empty: nothing."""
    try:
        async with asyncio.timeout(check.patience_s):
            await check.run()
    except TimeoutError:
        return f"no answer within {check.patience_s:g} s"
    except MillraceError as error:
        return str(error)
    except Exception as error:
        log.exception("a readiness check failed in an unexpected way: please report it")
        return f"unexpected: {type(error).__name__}: {error}"
    return ""
