"""Small JSON documents in this process's memory: for tests, and for scans that need not be resumed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


class MemoryDocuments:
    """Implements ports.scan_checkpoints.ScanCheckpoints."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}

    async def load(self, name: str) -> Mapping[str, Any] | None:
        text = self._texts.get(name)
        document: Mapping[str, Any] | None = None if text is None else json.loads(text)
        return document

    async def save(self, name: str, document: Mapping[str, Any]) -> None:
        self._texts[name] = json.dumps(document)

    async def remove(self, name: str) -> None:
        self._texts.pop(name, None)
