"""What is kept beside an object that Riak CS cannot hold: tags, the checksum, the parts it was made of."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from controlplane.s3.checksums import Algorithm, ChecksumType
from controlplane.s3.documents.checksum_elements import StoredChecksum
from controlplane.s3.documents.object_attributes import ObjectPart
from controlplane.s3.documents.tagging import Tags

_FORMAT: Final = 1


class UnreadableExtras(ValueError):
    """The record is damaged, or of a later format."""


@dataclass(frozen=True, slots=True)
class ObjectExtras:
    tags: Tags = ()
    checksum: StoredChecksum | None = None
    parts: tuple[ObjectPart, ...] = ()

    @property
    def empty(self) -> bool:
        return not (self.tags or self.checksum or self.parts)


NOTHING: Final = ObjectExtras()


def _checksum_out(checksum: StoredChecksum | None) -> list[str] | None:
    return None if checksum is None else [checksum.algorithm.value, checksum.text, checksum.type.value]


def _checksum_in(found: Any) -> StoredChecksum | None:
    return None if found is None else StoredChecksum(Algorithm(found[0]), str(found[1]), ChecksumType(found[2]))


def encode_extras(key: str, identity: str, extras: ObjectExtras) -> bytes:
    """The record of an object. `identity` is of the very object that the extras belong to: another one under the same
    key has none of them."""
    record = {
        "format": _FORMAT,
        "key": key,
        "identity": identity,
        "tags": [list(tag) for tag in extras.tags],
        "checksum": _checksum_out(extras.checksum),
        "parts": [[part.number, part.size, _checksum_out(part.checksum)] for part in extras.parts],
    }
    return json.dumps(record, separators=(",", ":")).encode()


def key_of_record(record: bytes) -> str:
    """The key of the object that a record is about. Raises UnreadableExtras."""
    try:
        found = json.loads(record)["key"]
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise UnreadableExtras(f"a damaged record: {error}") from error
    if not isinstance(found, str):
        raise UnreadableExtras("a damaged record: its key is no text")
    return found


def decode_extras(record: bytes, key: str, identity: str) -> ObjectExtras:
    """The extras of this object; empty when the record is of another object. Raises UnreadableExtras."""
    try:
        found = json.loads(record)
        if found["format"] != _FORMAT:
            raise UnreadableExtras(f"a record of format {found['format']!r}, and this program reads {_FORMAT}")
        if found["key"] != key or found["identity"] != identity:
            return NOTHING
        return ObjectExtras(
            tuple((str(name), str(value)) for name, value in found["tags"]),
            _checksum_in(found["checksum"]),
            tuple(ObjectPart(int(number), int(size), _checksum_in(sum_)) for number, size, sum_ in found["parts"]),
        )
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        if isinstance(error, UnreadableExtras):
            raise
        raise UnreadableExtras(f"a damaged record: {error}") from error
