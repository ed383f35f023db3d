"""What the tests on hosts have started ends with them, even when they are killed."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.hosts.control_node import ROOT

# A process in a session of its own, with a child in another: as Ansible and its workers are.
TESTS = """
import os, subprocess, sys, time
from tests.hosts.last_will import LastWill
will = LastWill(["/usr/bin/touch", "hosts-are-down"], os.environ)
play = subprocess.Popen(["sh", "-c", "setsid sleep 300 & wait"], start_new_session=True)
with will.names(play.pid):
    print(play.pid, flush=True)
    sys.stdin.read()
play.kill()
play.wait()
will.revoke()
del will
"""


def running(started: int) -> list[str]:
    listed = subprocess.run(["ps", "-e", "-o", "pid=,ppid=,stat="], capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in listed.splitlines()]
    return [pid for pid, parent, state in rows if str(started) in (pid, parent) and not state.startswith("Z")]


def until(condition) -> bool:
    end = time.monotonic() + 20
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


@pytest.mark.parametrize("killed", [True, False])
def test_a_playbook_ends_with_the_tests(tmp_path: Path, killed: bool) -> None:
    complaints = tmp_path / "complaints"
    with complaints.open("wb") as err:
        tests = subprocess.Popen(
            [sys.executable, "-W", "always", "-c", TESTS],
            cwd=tmp_path,
            env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=err,
            text=True,
        )
    assert tests.stdin is not None
    assert tests.stdout is not None
    with tests.stdin, tests.stdout:
        play = int(tests.stdout.readline())
        assert until(lambda: len(running(play)) == 2)
        (worker,) = set(running(play)) - {str(play)}
        if killed:
            tests.send_signal(signal.SIGKILL)
            tests.wait(20)
            assert until(lambda: running(play) == []), "it goes on"
            assert until(
                lambda: not Path("/proc", worker).exists() or b" Z " in Path("/proc", worker, "stat").read_bytes()
            )
            assert until((tmp_path / "hosts-are-down").exists)
        else:
            tests.stdin.close()
            assert tests.wait(20) == 0
            assert complaints.read_text() == "", "warnings are errors of the tests on hosts"
            assert not (tmp_path / "hosts-are-down").exists()
            subprocess.run(["kill", worker], check=True)
