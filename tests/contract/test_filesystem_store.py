"""The filesystem store keeps ObjectStore's promises, with extended attributes and without."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from controlplane.adapters.filesystem import FilesystemStore
from controlplane.adapters.system_clock import SystemClock
from controlplane.model.keys import StoreName
from controlplane.ports.object_store import ObjectStore
from tests.contract.object_store_suite import ObjectStoreContract


class TestFilesystemStore(ObjectStoreContract):
    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[ObjectStore]:
        store = FilesystemStore(StoreName("files"), tmp_path / "store", clock=SystemClock(), fsync=False)
        await store.open()
        yield store
        await store.aclose()
        assert list((tmp_path / "store" / "tmp").iterdir()) == []


class TestFilesystemStoreWithTrailers(TestFilesystemStore):
    """On a file system without user attributes."""

    @pytest.fixture(autouse=True)
    def no_extended_attributes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: Any) -> bytes:
            raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

        monkeypatch.setattr(os, "setxattr", refuse)
        monkeypatch.setattr(os, "getxattr", refuse)
