"""Python's cyclic garbage is collected by time, beside what the interpreter does by the number of objects."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Final

EVERY_S: Final = 30.0


class CycleCollection:
    """For a process with high thresholds (gc.set_threshold). They count objects, and know neither what these keep,
    which may be megabytes each, nor that nothing else is made for hours. What is left in a cycle goes within EVERY_S.

    A round walks through all that is not frozen: of an agent 10,000 to 20,000 objects, 3 to 11 ms. The first one does
    nothing: a start has other work.
    """

    def __init__(self, collect: Callable[[], int] = gc.collect) -> None:
        self._collect = collect
        self._begun = False

    async def once(self) -> bool:
        if self._begun:
            self._collect()
        self._begun = True
        return False
