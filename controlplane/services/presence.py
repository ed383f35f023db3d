"""Whether something is there: a blob in a store, a tombstone over it. An outage is neither yes nor no (I5)."""

from __future__ import annotations

from controlplane.model.content import Guid
from controlplane.model.keys import Key, tombstone_key
from controlplane.ports.catalog import Catalog
from controlplane.ports.errors import NotFound
from controlplane.ports.object_store import ObjectStore


async def exists(store: ObjectStore, key: Key) -> bool:
    """Whether the store has the object. Raises Unavailable."""
    try:
        await store.head(key)
    except NotFound:
        return False
    return True


async def is_entombed(primary: ObjectStore, guid: Guid) -> bool:
    """Whether a delete of the blob is under way: its tombstone lies in the primary, where all nodes see it."""
    return await exists(primary, tombstone_key(guid))


async def refuse_if_entombed(primary: ObjectStore, catalog: Catalog, guid: Guid) -> None:
    """Raise NotFound for a blob that was deleted, here or by another node (I4)."""
    known = await catalog.get(guid)
    if (known is not None and known.deleted_at is not None) or await is_entombed(primary, guid):
        raise NotFound(f"blob {guid} was deleted")
