"""What a scan leaves for the operator to decide or to mend, in words: kept with its result, few and short. Pure."""

from __future__ import annotations

from typing import Final

MOST: Final = 20
"""Of one scan: what is beyond is in the counts, and in the log."""
_LONGEST: Final = 400


def forbidden(unit: str, reason: str) -> str:
    """The guard did not let the unit's deletions pass (I6)."""
    return f"{unit}: nothing is deleted at the target: {reason}"


def broken_off(unit: str, error: str) -> str:
    return f"{unit}: not compared to its end: {error or 'unknown'}"


def note(notes: list[str], line: str) -> None:
    """Add it, within the bounds."""
    if len(notes) < MOST:
        notes.append(line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…")
