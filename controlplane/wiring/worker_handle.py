"""One worker process, as its supervisor holds it."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable
from typing import Any

from controlplane.ports.errors import Unavailable
from controlplane.wiring.worker_channel import Answer, Ask, Failed, Question, Ready, Start, packed, receive


class WorkerHandle:
    """A process from its start to its end; a replacement gets a handle of its own."""

    def __init__(self, start: Start, inherited: Iterable[int]) -> None:
        """`inherited`: further descriptors that the process shall hold."""
        self.number = start.number
        self._start = start
        self._inherited = tuple(inherited)
        self._process: subprocess.Popen[bytes] | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._questions: dict[int, asyncio.Future[Any]] = {}
        self._numbers = itertools.count()
        self._ended = asyncio.Event()
        self.said: asyncio.Future[Ready | Failed] = asyncio.get_running_loop().create_future()
        """Its first word; Unavailable when it ended without one."""
        self.serving = False

    @property
    def pid(self) -> int:
        return self._process.pid if self._process is not None else 0

    async def begin(self) -> None:
        """Start the process. Raises OSError."""
        ours, theirs = socket.socketpair()
        start = self._start
        shared = start.blobs_fd, start.s3_fd, start.evictions_fd, start.changes_fd, start.sibling_fd
        fds = [theirs.fileno(), *shared, *self._inherited]
        try:
            self._process = subprocess.Popen(  # noqa: ASYNC220, S603 - this program; a thread would gain nothing
                # -P: the folder that the gateway was started in is not searched for modules.
                [sys.executable, "-P", "-m", "controlplane.wiring.gateway_worker", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[fd for fd in fds if fd >= 0],
            )
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        reader, self._writer = await asyncio.open_unix_connection(sock=ours)
        self._writer.write(packed(start))
        pidfd = os.pidfd_open(self._process.pid)
        asyncio.get_running_loop().add_reader(pidfd, self._exited, pidfd)
        self._reading = asyncio.create_task(self._read(reader))

    async def ask(self, ask: Ask) -> Any:
        """Raises Unavailable when it ends before it answers."""
        if self._writer is None or self._reading is None or self._reading.done():
            raise Unavailable(f"worker {self.number} does not run: it is started again")
        number = next(self._numbers)
        answer = self._questions[number] = asyncio.get_running_loop().create_future()
        try:
            self._writer.write(packed(Question(number, ask)))
            return await answer
        finally:
            del self._questions[number]

    async def ended(self) -> str:
        """When the process is gone: how it ended, for the log."""
        if self._process is None:
            return "not started"
        await self._ended.wait()
        code = self._process.returncode
        if code < 0:
            return f"killed by {signal.Signals(-code).name}"
        return f"exit code {code}"

    def send(self, number: signal.Signals) -> None:
        if self._process is not None and not self._ended.is_set():
            self._process.send_signal(number)

    def _exited(self, pidfd: int) -> None:
        asyncio.get_running_loop().remove_reader(pidfd)
        os.close(pidfd)
        if self._process is not None:
            self._process.wait()
        self.serving = False
        self._ended.set()
        if self._writer is not None:
            self._writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        while (message := await receive(reader)) is not None:
            match message:
                case Ready() | Failed() if not self.said.done():
                    self.serving = isinstance(message, Ready)
                    self.said.set_result(message)
                case Answer(number, said) if number in self._questions and not self._questions[number].done():
                    self._questions[number].set_result(said)
        gone = Unavailable(f"worker {self.number} has ended: it is started again")
        for question in (self.said, *self._questions.values()):
            if not question.done():
                question.set_exception(gone)
                question.exception()  # seen: nobody may be waiting
