"""What is done with a lab when the process that used it is gone, whatever ended it: SIGKILL lets nobody tidy up.

Playbooks and the persistent store have sessions of their own, and hosts are nobody's children: all would stay. A small
process waits at the end of a pipe that the tests hold. When that closes before it was told that all is well, it ends
the processes that were named to it, with all that these have started, and then the hosts.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence


class LastWill:
    """`finally_run` is the command that ends the hosts; empty: they stay."""

    def __init__(self, finally_run: Sequence[str], environment: Mapping[str, str]) -> None:
        self._executor = subprocess.Popen(
            [sys.executable, __file__, *finally_run],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,  # nobody who reads what the tests say is to wait for it
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # what is sent to the group of the tests must not end it too
            text=True,
            bufsize=1,
        )

    @contextlib.contextmanager
    def names(self, process: int) -> Iterator[None]:
        """This process is ended, too, unless this context was left before."""
        self._say(f"began {process}")
        try:
            yield
        finally:
            self._say(f"ended {process}")

    def revoke(self) -> None:
        """All was put away in order."""
        assert self._executor.stdin is not None
        self._say("revoked")
        self._executor.stdin.close()
        self._executor.wait(10)

    def _say(self, words: str) -> None:
        assert self._executor.stdin is not None
        self._executor.stdin.write(f"{words}\n")


def end(process: int) -> None:
    """Kills it and all that it has started. Ansible's workers have sessions of their own: no group has them all."""
    listed = subprocess.run(["ps", "-e", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    parents = [(int(child), int(parent)) for child, parent in map(str.split, listed.splitlines())]
    tree = [process]
    for known in tree:
        tree += [child for child, parent in parents if parent == known]
    for one in tree:
        with contextlib.suppress(ProcessLookupError):
            os.kill(one, signal.SIGKILL)


def execute(finally_run: Sequence[str]) -> None:
    running: set[int] = set()
    for line in sys.stdin:
        word, *process = line.split()
        if word == "revoked":
            return
        (running.add if word == "began" else running.discard)(int(process[0]))
    for process_id in running:
        end(process_id)
    if finally_run:
        os.execv(finally_run[0], finally_run)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    execute(sys.argv[1:])
