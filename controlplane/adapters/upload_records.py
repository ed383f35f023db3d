"""Unfinished uploads at stores that keep nothing of an upload before it is complete: a small object stands for each.

They lie under HIDDEN, which the adapter leaves out of its listings and refuses as part of a key.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from controlplane.model.keys import Key
from controlplane.ports.errors import NotFound, Rejected, Unavailable

HIDDEN: Final = ".millrace-uploads/"
ID_DIGITS: Final = 16


@dataclass(frozen=True, slots=True)
class UploadRecord:
    """What complete() has to know of begin()."""

    content_type: str
    notes: Mapping[str, str]


def refuse_hidden(key: str) -> None:
    if key.startswith(HIDDEN):
        raise Rejected(f"keys that begin with {HIDDEN} are this store's own: {key[:80]}")


def upload_folder(key: Key) -> str:
    """Where the records, and whatever else belongs to them, of a key's uploads are."""
    return f"{HIDDEN}{hashlib.sha256(key.encode()).hexdigest()[:32]}/"


def record_name(key: Key, upload_id: str) -> str:
    return f"{upload_folder(key)}{upload_id}/begun"


class UploadRecords:
    """Over three verbs of a store for its own names, which raise what ObjectStore's raise."""

    def __init__(
        self,
        put: Callable[[str, bytes], Awaitable[None]],
        get: Callable[[str], Awaitable[bytes]],
        names: Callable[[str], Awaitable[Sequence[str]]],
        delete: Callable[[str], Awaitable[None]],
    ) -> None:
        """`names(prefix)`: all names that begin with it."""
        self._put = put
        self._get = get
        self._names = names
        self._delete = delete

    async def begin(self, key: Key, record: UploadRecord) -> str:
        """The new upload's id: ID_DIGITS hex digits."""
        upload_id = secrets.token_hex(ID_DIGITS // 2)
        said = {"key": key, "content_type": record.content_type, "notes": dict(record.notes)}
        await self._put(record_name(key, upload_id), json.dumps(said).encode())
        return upload_id

    async def find(self, key: Key, upload_id: str) -> UploadRecord:
        """Raises NotFound: there is no such upload any more."""
        if len(upload_id) != ID_DIGITS or not upload_id.isalnum():
            raise NotFound(f"there is no upload {upload_id[:40]!r} of {key}")
        try:
            said = json.loads(await self._get(record_name(key, upload_id)))
            return UploadRecord(said["content_type"], said["notes"])
        except NotFound as error:
            raise NotFound(f"there is no upload {upload_id} of {key} any more") from error
        except (ValueError, KeyError, TypeError) as error:
            raise Unavailable(f"the record of upload {upload_id} of {key} cannot be read: {error}") from error

    async def of(self, key: Key) -> Sequence[str]:
        folder = upload_folder(key)
        names = [name.removeprefix(folder) for name in await self._names(folder)]
        return sorted(name.removesuffix("/begun") for name in names if name.endswith("/begun"))

    async def forget(self, key: Key, upload_id: str) -> None:
        await self._delete(record_name(key, upload_id))
