"""One page of a container's blobs, checked."""

from __future__ import annotations

from collections import OrderedDict
from itertools import pairwise
from typing import Any, Final, cast

from azure.storage.blob import BlobProperties
from azure.storage.blob.aio import ContainerClient

from controlplane.adapters.azure.blobs import listed_info
from controlplane.adapters.azure.failures import translated
from controlplane.model.keys import Key
from controlplane.ports.errors import Rejected, Unavailable
from controlplane.ports.object_store import ObjectInfo, Page

MOST_KEYS: Final = 5000
"""Azure gives no more in one answer."""
_MARKERS: Final = 256


class AzureListing:
    """Listings go on from any key, but Azure goes on only from markers of its own. The markers of the last pages are
    kept, so a listing read page by page costs one request a page. Elsewhere the service is asked to begin at the key
    (startFrom); one that does not know that begins at the front, and what it gives too much is dropped."""

    def __init__(self, prefix: str, hidden: str) -> None:
        """`hidden`: names that begin with it (after `prefix`) are not listed."""
        self._prefix = prefix
        self._hidden = prefix + hidden
        self._markers: OrderedDict[tuple[str, str, int], str] = OrderedDict()

    async def page(self, container: ContainerClient, prefix: str, after: Key | None, limit: int) -> Page:
        """At most min(limit, 5000) objects. Raises Unavailable for an answer that cannot be the truth."""
        if limit < 1:
            raise Rejected(f"a listing of {limit} keys")
        most = min(limit, MOST_KEYS)
        full_prefix = self._prefix + prefix
        start = None if after is None else self._prefix + after
        marker = None if start is None else self._markers.get((full_prefix, start, most))
        known_from = start if marker else None
        while True:
            blobs, marker_after = await self._answer(container, full_prefix, start, marker, most)
            blobs = self._checked(blobs, full_prefix, known_from, whole=marker is None and marker_after is None)
            found = [self._info(blob) for blob in blobs if start is None or blob.name.encode() > start.encode()]
            found = [info for info in found if not (self._prefix + info.key).startswith(self._hidden)]
            if found or marker_after is None:
                break
            if marker_after == marker:
                raise Unavailable(f"the listing of {container.container_name} goes round in a circle")
            marker, known_from = marker_after, (blobs[-1].name if blobs else known_from)
        if marker_after is None:
            return Page(tuple(found), None)
        last = found[-1].key
        self._remember(full_prefix, self._prefix + last, most, marker_after)
        return Page(tuple(found), last)

    async def _answer(
        self, container: ContainerClient, prefix: str, start: str | None, marker: str | None, most: int
    ) -> tuple[list[BlobProperties], str | None]:
        start_from: Any = (
            {"start_from": start} if start is not None and start.startswith(prefix) and marker is None else {}
        )
        listing = container.list_blobs(name_starts_with=prefix or None, results_per_page=most, **start_from)
        pages = cast("Any", listing.by_page(continuation_token=marker))
        with translated(f"listing {container.container_name} at {container.primary_hostname}"):
            try:
                page = await anext(pages)
            except StopAsyncIteration:
                return [], None
            blobs = [blob async for blob in page]
        return blobs, pages.continuation_token or None

    def _checked(
        self, blobs: list[BlobProperties], prefix: str, known_from: str | None, *, whole: bool
    ) -> list[BlobProperties]:
        names = [blob.name.encode() for blob in blobs]
        if any(one >= other for one, other in pairwise(names)):
            if not whole or len(set(names)) != len(names):
                raise Unavailable(
                    "the listing cannot be trusted: its names are not in order of their bytes, or not unique"
                )
            blobs = sorted(blobs, key=lambda blob: blob.name.encode())
        if names and known_from is not None and min(names) <= known_from.encode():
            raise Unavailable("the listing cannot be trusted: it does not go on after the names before")
        if not all(blob.name.startswith(prefix) for blob in blobs):
            raise Unavailable("the listing cannot be trusted: it has names without the prefix that was asked for")
        return blobs

    def _info(self, blob: BlobProperties) -> ObjectInfo:
        return listed_info(Key(blob.name[len(self._prefix) :]), blob)

    def _remember(self, prefix: str, last: str, most: int, marker: str) -> None:
        self._markers[prefix, last, most] = marker
        self._markers.move_to_end((prefix, last, most))
        while len(self._markers) > _MARKERS:
            self._markers.popitem(last=False)
