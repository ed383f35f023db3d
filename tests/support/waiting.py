"""Waiting for what other processes and threads do. How soon it comes is promised in virtual time (tests/unit): where
programs start beside others, only that it comes."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable


def until(true: Callable[[], bool], what: str = "", within_s: float = 90.0) -> float:
    """Return when it is true, with the seconds that this took; fail when it never is. `what`: in words."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < within_s, f"not within {within_s:g} s: {what or 'what is waited for'}"
        time.sleep(0.05)
    return time.monotonic() - began


def end(process: subprocess.Popen[bytes]) -> None:
    """By SIGTERM, and by force when that does not do it."""
    process.terminate()
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
