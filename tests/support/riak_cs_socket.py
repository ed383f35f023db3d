"""The socket of roles/riak_cs beside a Riak CS whose batches last until they are cancelled.

It says what Riak CS 3.2.4 says (recordings, riak_cs_gc_console), and notes when two nodes collect at once.
"""

from __future__ import annotations

import socketserver
import threading
import time
from pathlib import Path
from typing import Self

STATUS = """\
{first}
  The current garbage collection leeway time is: 86400
  Next run scheduled for: {next}
  Last run started at: undefined
  The current garbage collection interval is: {interval}
ok
"""
IDLE = "There is no garbage collection in progress"
RUNNING = "A garbage collection batch is in progress"
PAUSE = "Warning: Subcommand 'pause' will be removed in future version.\n"


class Cluster:
    """What the nodes of one cluster do at the same time."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.collecting: set[str] = set()
        self.overlaps: list[str] = []


class RiakCsSocket:
    """A context manager; `answer` replaces what it says, `silent` lets questions wait for ever."""

    def __init__(self, path: Path, name: str = "n1", cluster: Cluster | None = None) -> None:
        self.path, self.name = path, name
        self.cluster = cluster or Cluster()
        self.timer = False
        self.answer: str | None = None
        self.silent = threading.Event()
        self.lines: list[str] = []
        outer = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                line = self.rfile.readline().decode()
                outer.lines.append(line)
                while outer.silent.is_set():
                    time.sleep(0.02)
                self.wfile.write(outer.say(line).encode())

        class Server(socketserver.ThreadingUnixStreamServer):
            daemon_threads = True

        self._server = Server(str(path), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def say(self, line: str) -> str:
        word, deadline = line.split()
        if self.answer is not None:
            return self.answer
        if time.time() > int(deadline) + 1:
            return "too late\n"
        with self.cluster.lock:
            mine = self.name in self.cluster.collecting
            match word:
                case "status":
                    interval = "900" if self.timer else "infinity (i.e. gc is disabled)"
                    return STATUS.format(first=RUNNING if mine else IDLE, next="undefined", interval=interval)
                case "batch":
                    if mine:
                        return "The garbage collection batch is already running.\nerror\n"
                    if self.cluster.collecting:
                        self.cluster.overlaps.append(f"{self.name} beside {self.cluster.collecting}")
                    self.cluster.collecting.add(self.name)
                    return "Garbage collection batch started.\nok\n"
                case "pause":
                    self.timer = False
                    self.cluster.collecting.discard(self.name)
                    done = "The garbage collection batch was canceled.\nok\n"
                    return PAUSE + (done if mine else "No garbage collection batch was running.\nerror\n")
        raise AssertionError(line)

    def close(self) -> None:
        self.silent.clear()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self.path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
