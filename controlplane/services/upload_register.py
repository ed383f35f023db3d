"""Unfinished uploads of all nodes: told to the cluster, so that those of a node that never returns are aborted too.

The node's own ledger is what it works by, and the only one that knows enough to go on with an upload. What is told is
enough to abort one. It is told as a whole whenever it changes: what could not be told while the directory was away is
told with the next change, or at the next start.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from controlplane.model.keys import Bucket, Key
from controlplane.ports.clock import Clock
from controlplane.ports.errors import MillraceError
from controlplane.ports.part_store import PartStore
from controlplane.ports.upload_ledger import Upload, UploadLedger
from controlplane.services.shared_documents import SharedDocuments

log = logging.getLogger(__name__)

NODES: Final = "nodes"
"""The document that names the nodes that ever told something; each has one under `of/<node>`."""
_MOST_TOLD: Final = 1000


class UploadRegister:
    """Implements ports.upload_ledger.UploadLedger over the node's own. That the directory is away holds up nothing."""

    def __init__(self, ledger: UploadLedger, documents: SharedDocuments, node: str) -> None:
        self._ledger = ledger
        self._documents = documents
        self._node = node
        self._turn = asyncio.Lock()
        self._named = False

    async def record(self, upload: Upload) -> None:
        await self._ledger.record(upload)
        await self.tell()

    async def find(self, rule: str, bucket: Bucket, key: Key) -> Upload | None:
        return await self._ledger.find(rule, bucket, key)

    async def forget(self, rule: str, bucket: Bucket, key: Key) -> None:
        await self._ledger.forget(rule, bucket, key)
        await self.tell()

    async def all(self) -> Sequence[Upload]:
        return await self._ledger.all()

    async def aclose(self) -> None:
        await self._ledger.aclose()

    async def tell(self) -> None:
        """What the ledger has now; also to be called at the start."""
        async with self._turn:
            told = [
                [upload.rule, upload.bucket, upload.key, upload.upload_id, upload.begun_at]
                for upload in (await self._ledger.all())[:_MOST_TOLD]
            ]
            try:
                if told and not self._named:
                    await self._documents.change(NODES, self._with_this_node)
                    self._named = True
                await self._documents.change(_place(self._node), lambda _: {"uploads": told} if told else None)
            except MillraceError as error:
                log.warning("the cluster is not told of %d unfinished uploads yet: %s", len(told), error)

    def _with_this_node(self, document: Mapping[str, Any] | None) -> Mapping[str, Any]:
        known = _names(document)
        return {"nodes": sorted({*known, self._node})}


@dataclass(frozen=True, slots=True)
class Told:
    """An upload of some node, as far as others need to know it."""

    rule: str
    bucket: Bucket
    key: Key
    upload_id: str
    begun_at: float


class OrphanSweep:
    """Aborts what other nodes have begun and not ended for so long that they themselves would have aborted it."""

    def __init__(
        self,
        documents: SharedDocuments,
        clock: Clock,
        node: str,
        *,
        parts_of: Callable[[str, Bucket], PartStore | None],
        after_s: float,
    ) -> None:
        """`parts_of`: where uploads of a rule and a bucket are; None: these settings do not name it. `after_s`: longer
        than that of each node's own sweep."""
        self._documents = documents
        self._clock = clock
        self._node = node
        self._parts_of = parts_of
        self._after_s = after_s
        self.aborted = 0

    async def once(self) -> bool:
        """Raises Unavailable, Rejected: the first failure, after all were tried."""
        failures: list[MillraceError] = []
        for node in _names(await self._documents.load(NODES)):
            if node == self._node:
                continue
            for upload in _told(await self._documents.load(_place(node))):
                if self._clock.now() - upload.begun_at < self._after_s:
                    continue
                try:
                    await self._sweep(node, upload)
                except MillraceError as error:  # a target that is away, or refuses this one: the others go
                    log.warning("the upload of %s/%s that %s has left behind is still there: %s",
                                upload.bucket, upload.key, node, error)  # fmt: skip
                    failures.append(error)
        if failures:
            raise failures[0]
        return False

    async def _sweep(self, node: str, upload: Told) -> None:
        parts = self._parts_of(upload.rule, upload.bucket)
        if parts is None:
            return
        ids = [upload.upload_id] if upload.upload_id else await parts.uploads(upload.key)
        for upload_id in ids:
            await parts.abort(upload.key, upload_id)
        self.aborted += len(ids)
        log.warning("the upload of %s/%s that %s has left behind was aborted", upload.bucket, upload.key, node)
        await self._documents.change(_place(node), partial(_without, upload))


def _place(node: str) -> str:
    return f"of/{node}"


def _names(document: Mapping[str, Any] | None) -> Sequence[str]:
    found = [] if document is None else document.get("nodes", [])
    return [str(name) for name in found] if isinstance(found, list) else []


def _told(document: Mapping[str, Any] | None) -> Sequence[Told]:
    try:
        rows = [] if document is None else document["uploads"]
        return [Told(rule, Bucket(bucket), Key(key), id_, float(at)) for rule, bucket, key, id_, at in rows]
    except (KeyError, TypeError, ValueError) as error:
        log.warning("what a node told of its uploads cannot be read: %r", error)
        return []


def _without(gone: Told, document: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    left = [[one.rule, one.bucket, one.key, one.upload_id, one.begun_at] for one in _told(document) if one != gone]
    return {"uploads": left} if left else None
