"""What a check of one bucket says about a service of many."""

from __future__ import annotations

from collections.abc import Iterable

from controlplane.ports.errors import NotFound, Rejected
from controlplane.ports.object_store import ObjectStore


async def is_there(store: ObjectStore) -> bool:
    """Whether the store's bucket exists. Raises Unavailable when nobody can say (I5)."""
    try:
        await store.check()
    except NotFound:
        return False
    except Rejected:
        pass  # it is there, and closed
    return True


async def check_in_use(stores: Iterable[ObjectStore], *, of_many: bool) -> None:
    """Asks a bucket that was in use; before there is one, it proves nothing. `of_many`: each source has a bucket of its
    own there, and that one of them is gone says nothing about the service. Raises what the store's check raises."""
    store = next(iter(stores), None)
    if store is None:
        return
    try:
        await store.check()
    except NotFound:
        if not of_many:
            raise
