"""The garbage collector of the local Riak CS, through the socket that roles/riak_cs puts in place.

`riak-cs admin gc` must be run as Riak CS's own user, which this process must not be able to become. So a socket of
systemd runs it: one line in, "<word> <deadline in Unix seconds>", and what the command printed out. The deadline is
kept on the other side too, so that a command that nobody waits for any more does nothing later.

Exit codes of Riak CS tell nothing (`gc pause` prints "error" and has done its work), so its words are read. They are
recordings of Riak CS 3.2.4, and what its source prints (riak_cs_gc_console) where a recording would take hours.
"""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

from controlplane.ports.clock import Clock
from controlplane.ports.errors import Rejected, Unavailable
from controlplane.ports.garbage_collector import CollectorState

_MOST_BYTES = 64 * 1024

_IDLE = "There is no garbage collection in progress"
_RUNNING = ("A garbage collection batch is in progress", "A garbage collection batch is finishing")
_INTERVAL = "The current garbage collection interval is:"
_STARTED = ("Garbage collection batch started.", "garbage collection batch is already running")
_HALTED = ("No garbage collection batch was running.", "The garbage collection batch was canceled.")


class RiakCsCollector:
    """Implements ports.garbage_collector.GarbageCollector."""

    def __init__(self, socket: Path, clock: Clock) -> None:
        self._socket = socket
        self._clock = clock

    async def state(self, within_s: float) -> CollectorState:
        return read_state(await self._ask("status", within_s))

    async def start(self, within_s: float) -> None:
        text = await self._ask("batch", within_s)
        if not any(words in text for words in _STARTED):
            raise Unavailable(f"Riak CS did not start a garbage collection batch: {_shown(text)}")

    async def halt(self, within_s: float) -> None:
        text = await self._ask("pause", within_s)
        if not any(words in text for words in _HALTED):
            raise Unavailable(f"Riak CS did not halt its garbage collection: {_shown(text)}")

    async def _ask(self, word: str, within_s: float) -> str:
        deadline = self._clock.now() + within_s
        try:
            async with asyncio.timeout(within_s):
                return await self._exchange(f"{word} {deadline:.0f}\n")
        except TimeoutError as error:
            raise Unavailable(
                f"`riak-cs admin gc {word}` gave no answer within {within_s:g} s: is the node overloaded?"
            ) from error
        except PermissionError as error:
            raise Rejected(f"{self._socket} may not be used by this user: it is for the group of the agent") from error
        except OSError as error:
            raise Unavailable(
                f"{self._socket}: {error.strerror or error}: is millrace-riak-cs-gc.socket active on this node?"
            ) from error

    async def _exchange(self, line: str) -> str:
        reader, writer = await asyncio.open_unix_connection(str(self._socket))
        try:
            writer.write(line.encode())
            await writer.drain()
            answer = bytearray()
            while len(answer) < _MOST_BYTES and (some := await reader.read(_MOST_BYTES - len(answer))):
                answer += some
            return answer.decode(errors="replace")
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


def read_state(text: str) -> CollectorState:
    """What `riak-cs admin gc status` says. Raises Unavailable when it says something else."""
    collecting = any(words in text for words in _RUNNING)
    if not collecting and _IDLE not in text:
        raise Unavailable(f"Riak CS does not tell the state of its garbage collection: {_shown(text)}")
    interval = next((line for line in text.splitlines() if _INTERVAL in line), None)
    # A batch that is finishing prints no interval. The next look will.
    return CollectorState(collecting, interval is not None and "infinity" not in interval)


def _shown(text: str) -> str:
    words = " ".join(text.split())
    return f"it said {words[:200]!r}" if words else "it said nothing"
