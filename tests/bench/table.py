"""What a comparison gives back, and how it is printed."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One comparison. `ratio` is what the aim speaks of; `aim` reads like ">= 0.70" or "" for mere information."""

    what: str
    ours: str
    peer: str
    ratio: float
    aim: str = ""

    @property
    def reached(self) -> bool | None:
        if not self.aim:
            return None
        relation, bound = self.aim.split()
        return bool({">=": operator.ge, "<=": operator.le}[relation](self.ratio, float(bound)))

    def as_dict(self) -> dict[str, object]:
        return {**dataclasses.asdict(self), "reached": self.reached}


_TITLES = ("what", "Millrace", "peer", "ratio", "aim", "reached")
_VERDICT = {True: "yes", False: "NO", None: ""}


def printed(rows: Sequence[Row]) -> str:
    """A table for people; also good Markdown."""
    cells = [_TITLES]
    cells += [(row.what, row.ours, row.peer, f"{row.ratio:.2f}", row.aim, _VERDICT[row.reached]) for row in rows]
    widths = [max(len(line[column]) for line in cells) for column in range(len(_TITLES))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in cells
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)
