"""Small JSON documents in the directory (etcd), where every agent of the cluster finds them."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from controlplane.ports.directory import Directory
from controlplane.ports.errors import StorageFull, Unavailable

log = logging.getLogger(__name__)

MOST_BYTES: Final = 512 * 1024
"""Of one document: etcd takes 1.5 MiB in a request, as it ships."""
_TRIES: Final = 8


class SharedDocuments:
    """Implements ports.scan_checkpoints.ScanCheckpoints below one name of the directory."""

    def __init__(self, directory: Directory, root: str) -> None:
        self._directory = directory
        self._root = root

    async def load(self, name: str) -> Mapping[str, Any] | None:
        held = await self._directory.get(self._name(name))
        return None if held is None else self._read(name, held.value)

    async def save(self, name: str, document: Mapping[str, Any]) -> None:
        await self.change(name, lambda _: document)

    async def remove(self, name: str) -> None:
        await self.change(name, lambda _: None)

    async def change(
        self, name: str, change: Callable[[Mapping[str, Any] | None], Mapping[str, Any] | None]
    ) -> Mapping[str, Any] | None:
        """Replace a document by what `change` makes of it (None: there is none), whoever else does the same. Raises
        Unavailable, StorageFull (it is too large)."""
        place = self._name(name)
        for _ in range(_TRIES):
            held = await self._directory.get(place)
            new = change(None if held is None else self._read(name, held.value))
            text = None if new is None else json.dumps(new, separators=(",", ":"))
            if text is not None and len(text) > MOST_BYTES:
                raise StorageFull(
                    f"{place} would have {len(text)} bytes: no more than {MOST_BYTES} go into the directory"
                )
            if (held is None and text is None) or (held is not None and text == held.value):
                return new
            if await self._directory.compare_and_swap(place, None if held is None else held.revision, text) is not None:
                return new
        raise Unavailable(f"{place} is changed by others all the time", 1.0)

    def _name(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _read(self, name: str, text: str) -> Mapping[str, Any] | None:
        try:
            document = json.loads(text)
        except ValueError:
            document = None
        if not isinstance(document, dict):
            log.error("%s in the directory is damaged: it is ignored, and will be replaced", self._name(name))
            return None
        return document
