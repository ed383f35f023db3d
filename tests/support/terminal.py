"""A command whose operator sits at a terminal of its own session: Ansible asks only there."""

import os
import pty
import re
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path


class Terminal:
    """`output` is what has been shown so far, without carriage returns."""

    def __init__(self, command: Sequence[str], cwd: Path, environment: Mapping[str, str]) -> None:
        self._master, slave = pty.openpty()
        self._process = subprocess.Popen(
            ["setsid", "--ctty", "--wait", *command],
            cwd=cwd,
            env={**environment, "COLUMNS": "200"},
            stdin=slave,
            stdout=slave,
            stderr=slave,
        )
        os.close(slave)
        os.set_blocking(self._master, False)
        self.output = ""

    def wait_for(self, pattern: str, timeout: float = 600) -> None:
        if not self._shows(pattern, timeout):
            raise AssertionError(f"{pattern!r} did not come:\n{self.output[-4000:]}")

    def answer(self, words: str, until: str, timeout: float = 60) -> None:
        """Types a line, again while `until` is not shown after it: a question throws away what was typed before it."""
        seen, end = len(self.output), time.monotonic() + timeout
        while time.monotonic() < end:
            os.write(self._master, words.encode() + b"\r")
            if self._shows(until, 3, seen):
                return
        raise AssertionError(f"{words!r} did not lead to {until!r}:\n{self.output[-4000:]}")

    def finish(self, timeout: float = 600) -> int:
        """The exit code, when it has ended by itself."""
        end = time.monotonic() + timeout
        while self._read():
            if time.monotonic() > end:
                self._process.kill()
                self._process.wait()
                raise AssertionError(f"it does not end:\n{self.output[-4000:]}")
        os.close(self._master)
        return self._process.wait(60)

    def _shows(self, pattern: str, timeout: float, start: int = 0) -> bool:
        end = time.monotonic() + timeout
        while not re.search(pattern, self.output[start:]):
            if time.monotonic() > end or not self._read():
                return False
        return True

    def _read(self) -> bool:
        """Takes what there is; False when it has ended."""
        try:
            self.output += os.read(self._master, 65536).decode(errors="replace").replace("\r", "")
        except BlockingIOError:
            if self._process.poll() is not None:
                return False
            time.sleep(0.1)
        except OSError:  # the other end is closed
            return False
        return True
