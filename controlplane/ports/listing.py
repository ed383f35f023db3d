"""Listing: the keys of one bucket below one prefix, as a scan reads them: in order, in pages, from any key on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from controlplane.model.keys import Key
from controlplane.model.scan_join import Listed


class ListedPage(NamedTuple):
    rows: Sequence[Listed]
    """In order of the keys' UTF-8 bytes."""
    more: bool
    """Whether there are keys after these. Never with an empty page."""


class Listing(Protocol):
    async def page(self, after: Key | None, limit: int) -> ListedPage:
        """At most `limit` entries whose keys are greater than `after`. Raises Unavailable: a failing listing is never
        an empty one; NotFound when there is no such bucket."""
        ...
