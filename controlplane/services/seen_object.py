"""An object of the source as a copy of it was begun: what is said of it, and its bytes only if they are wanted."""

from __future__ import annotations

from controlplane.model.keys import Key
from controlplane.ports.errors import NotFound, Unavailable
from controlplane.ports.object_store import ObjectInfo, ObjectReader, ObjectStore


class SeenObject:
    """Invariant: whatever is read is of the very version `info`. Close it with aclose(), also after an error."""

    def __init__(self, store: ObjectStore, info: ObjectInfo, reader: ObjectReader | None = None) -> None:
        self._store = store
        self._reader = reader
        self.info = info

    @classmethod
    async def seen(cls, store: ObjectStore, key: Key, *, bytes_wanted: bool) -> SeenObject:
        """One request. A body that is asked for and closed again has cost megabytes by then: what is large, and likely
        not to be read in one piece, is only looked at. Raises what the store's get() and head() raise."""
        if not bytes_wanted:
            return cls(store, await store.head(key))
        reader = await store.get(key)
        return cls(store, reader.info, reader)

    async def reader(self) -> ObjectReader:
        """The bytes from the first on; one at a time, which aclose() closes. Raises Unavailable (also when the source
        has another version by now), Rejected."""
        if self._reader is None:
            try:
                reader = await self._store.get(self.info.key)
            except NotFound as error:
                raise self._changed() from error
            if reader.info != self.info:
                await reader.aclose()
                raise self._changed()
            self._reader = reader
        return self._reader

    async def aclose(self) -> None:
        """Idempotent. reader() begins anew."""
        if self._reader is not None:
            reader, self._reader = self._reader, None
            await reader.aclose()

    def _changed(self) -> Unavailable:
        return Unavailable(f"{self._store.bucket}/{self.info.key} changed while it was copied", 0.0)
