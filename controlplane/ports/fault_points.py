"""Named points in multi-step protocols at which a crash test can kill the process.

`MILLRACE_FAULT=<name>` in the environment at start kills this process with SIGKILL when `reach(name)` is first called,
`MILLRACE_FAULT=<name>:<n>` when it is called for the nth time. Without the variable reach() does nothing.
"""

from __future__ import annotations

import itertools
import os
import signal

_VARIABLE = "MILLRACE_FAULT"


def _armed(text: str) -> tuple[str, int]:
    name, colon, count = text.partition(":")
    if colon and not (count.isascii() and count.isdigit() and int(count) > 0):
        raise ValueError(f"{_VARIABLE}={text!r}: what follows the colon must be a count from 1, such as {name}:3")
    return name, int(count) if colon else 1


_name, _count = _armed(os.environ.get(_VARIABLE, ""))
_reached = itertools.count(1)  # its next() is atomic under the interpreter lock: points are reached in many threads


def reach(name: str) -> None:
    """Mark a step of a protocol; does not return when this is the point that the environment names."""
    if name == _name and next(_reached) == _count:
        os.kill(os.getpid(), signal.SIGKILL)
