"""Small JSON documents, a file each: replaced whole, or not at all."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from controlplane.adapters.filesystem.failures import translated

log = logging.getLogger(__name__)


class FileDocuments:
    """Implements ports.scan_checkpoints.ScanCheckpoints in a directory of its own, which is made when it is needed."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def load(self, name: str) -> Mapping[str, Any] | None:
        return await asyncio.to_thread(self._load, name)

    async def save(self, name: str, document: Mapping[str, Any]) -> None:
        # Encoded before the first wait: the document may change while a thread writes it.
        text = json.dumps(document).encode("utf-8", "surrogatepass")
        await asyncio.to_thread(self._save, name, text)

    async def remove(self, name: str) -> None:
        await asyncio.to_thread(self._remove, name)

    def _path(self, name: str) -> Path:
        return self._directory / f"{name}.json"

    def _load(self, name: str) -> Mapping[str, Any] | None:
        path = self._path(name)
        try:
            text = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise translated(error, f"reading {path}") from error
        try:
            document = json.loads(text)
        except ValueError:
            document = None
        if not isinstance(document, dict):
            log.error("%s is damaged: it is ignored, and will be replaced", path)
            return None
        return document

    def _save(self, name: str, text: bytes) -> None:
        path = self._path(name)
        new = path.with_suffix(f".new-{os.getpid()}")
        try:
            self._directory.mkdir(mode=0o750, parents=True, exist_ok=True)
            with open(new, "wb") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(new, path)
            self._flush_directory()
        except OSError as error:
            new.unlink(missing_ok=True)
            raise translated(error, f"writing {path}") from error

    def _remove(self, name: str) -> None:
        try:
            self._path(name).unlink(missing_ok=True)
            if self._directory.exists():
                self._flush_directory()
        except OSError as error:
            raise translated(error, f"removing {self._path(name)}") from error

    def _flush_directory(self) -> None:
        directory = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
