"""Ports of tests/support/ports.py are given once, whoever asks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support import ports

ROOT = Path(__file__).parents[2]
OTHER = """
import sys
from tests.support import ports
ports._FIRST, ports._LAST = int(sys.argv[1]), int(sys.argv[1]) + 100
print(*ports.free_ports(5))
"""


def test_no_port_is_given_twice_by_processes_beside_one_another() -> None:
    first = ports.free_port()
    mine = {first, *(port for port in range(first + 1, first + 60) if ports._is_reserved(port))}
    asked = subprocess.run(
        [sys.executable, "-c", OTHER, str(first)], capture_output=True, text=True, check=True, cwd=ROOT
    )
    theirs = set(map(int, asked.stdout.split()))
    assert len(theirs) == 5
    assert not theirs & mine
