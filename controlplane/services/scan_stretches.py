"""Who compared which keys of a unit in the last scan that all nodes shared: where the next one is cut, and for whom.

A node whose catalog is its own knows the rows of what it compared; elsewhere each object costs a HEAD at the target.
And only who compared a key in the very last run knows since when its object is absent: it may have been back since.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from controlplane.model.keys import Key
from controlplane.model.scan_board import OpenUnit, first_pieces, last_node, scanned_by
from controlplane.model.scan_state import Unit
from controlplane.ports.errors import StorageFull
from controlplane.ports.scan_checkpoints import ScanCheckpoints

_FOLDER: Final = "stretches"


@dataclass(frozen=True, slots=True)
class Stretches:
    run: int = 0
    """In which they were scanned."""
    last: Sequence[tuple[Key | None, str]] = ()
    """Ends, in order (None: to the end), and the node."""
    closer: str = ""
    """Who compared the tags."""

    def remembers(self, node: str, run: int, key: Key) -> bool:
        """Whether what the node's own catalog says of an absence is what the run before `run` saw."""
        return self.run == run - 1 and last_node(key, self.last) == node

    def opened(self, unit: Unit) -> OpenUnit:
        return OpenUnit(unit.name, first_pieces(self.last), prefers=self.closer)


class StretchRecords:
    def __init__(self, documents: ScanCheckpoints) -> None:
        """`documents`: shared by all nodes."""
        self._documents = documents

    async def load(self, unit: Unit) -> Stretches:
        """Raises Unavailable."""
        document = await self._documents.load(_name(unit))
        return Stretches() if document is None else _read(document)

    async def save(self, unit: Unit, scanned: OpenUnit, run: int, closer: str) -> None:
        """When all of the unit was compared, and before it is closed. Raises Unavailable."""
        document = {"unit": unit.name, "run": run, "closer": closer, "last": scanned_by(scanned)}
        try:
            await self._documents.save(_name(unit), document)
        except StorageFull:
            # Keys as long as that, and so many cuts: nothing is remembered of it.
            await self._documents.remove(_name(unit))


def _name(unit: Unit) -> str:
    return f"{_FOLDER}/{hashlib.sha256(unit.name.encode()).hexdigest()[:32]}"


def _read(document: Mapping[str, Any]) -> Stretches:
    try:
        last = [(None if until is None else Key(str(until)), str(node)) for until, node in document["last"]]
        return Stretches(int(document["run"]), last, str(document["closer"]))
    except (KeyError, TypeError, ValueError):
        return Stretches()
