"""A bucket's listing for the scan, out of any object store."""

from __future__ import annotations

from controlplane.model.keys import Key
from controlplane.model.scan_join import Listed
from controlplane.ports.errors import Missing, NotFound
from controlplane.ports.listing import ListedPage
from controlplane.ports.object_store import ObjectStore
from controlplane.services.scan_admission import Admit, at_once


class StoreListing:
    """Implements ports.listing.Listing. `may_be_missing`: a bucket that does not exist is an empty one, as that of a
    target is before the first copy; never of a source, where it would look like everything was deleted."""

    def __init__(
        self,
        store: ObjectStore,
        prefix: str,
        *,
        may_be_missing: bool,
        admit: Admit = at_once,
    ) -> None:
        self._admit = admit
        self._store = store
        self._prefix = prefix
        self._may_be_missing = may_be_missing

    async def page(self, after: Key | None, limit: int) -> ListedPage:
        await self._admit(1)
        try:
            page = await self._store.list(prefix=self._prefix, after=after, limit=limit)
        except (NotFound, Missing):
            if not self._may_be_missing:
                raise
            return ListedPage((), more=False)
        rows = [Listed(at.key, at.etag, at.size, round(at.modified_at)) for at in page.objects]
        return ListedPage(rows, page.next_after is not None)
