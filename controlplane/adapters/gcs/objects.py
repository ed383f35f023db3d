"""An object's resource as the port's values."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final

from google.cloud.storage import Blob

from controlplane.adapters.gcs.failures import translated
from controlplane.adapters.object_notes import read_notes
from controlplane.adapters.s3.metadata import OCTETS
from controlplane.model.keys import Key
from controlplane.ports.errors import Rejected, Unavailable
from controlplane.ports.object_store import ObjectInfo

MOST_BYTES: Final = 1024
FIELDS: Final = "items(name,size,md5Hash,etag,timeCreated),nextPageToken"
_UNUSABLE: Final = re.compile(r"[\r\n\x00]")


def object_name(full: str) -> str:
    """The key, prefix included, as an object's name. Raises Rejected for what Google refuses.

    Source: Google's documentation, "Object names"."""
    try:
        length = len(full.encode())
    except UnicodeEncodeError as error:
        raise Rejected(f"the key {full[:80]!r} is not Unicode text") from error
    if not full:
        raise Rejected("an object has a key of at least one character")
    if length > MOST_BYTES:
        why = f"longer than {MOST_BYTES} bytes"
    elif _UNUSABLE.search(full):
        why = "with a line break"
    elif full in (".", "..") or full.startswith(".well-known/acme-challenge/"):
        why = "reserved"
    else:
        return full
    raise Rejected(f"Google Cloud Storage cannot hold an object whose name is {why}: {full[:80]!r}")


def etag_of(blob: Blob) -> str:
    """The MD5 where the service has one, since ETags are that in the port; objects made of parts have none."""
    if blob.md5_hash:
        try:
            return base64.b64decode(blob.md5_hash, validate=True).hex()
        except binascii.Error as error:
            raise Unavailable(f"the answer for {blob.name} has an MD5 that cannot be read") from error
    return str(blob.etag).strip('"')


def info_of(key: Key, blob: Blob) -> ObjectInfo:
    """Raises Unavailable for an answer that is not an object's."""
    with translated(f"the answer about {key}"):
        return _info(key, blob)


def _info(key: Key, blob: Blob) -> ObjectInfo:
    content, metadata = read_notes({name.lower(): str(value) for name, value in (blob.metadata or {}).items()})
    headers = {
        "cache-control": blob.cache_control,
        "content-disposition": blob.content_disposition,
        "content-encoding": blob.content_encoding,
        "content-language": blob.content_language,
    }
    listed = _listed(key, blob)
    return ObjectInfo(
        key,
        listed.size,
        listed.etag,
        listed.modified_at,
        blob.content_type or OCTETS,
        content,
        metadata,
        {name: value for name, value in headers.items() if value},
    )


def listed_info(key: Key, blob: Blob) -> ObjectInfo:
    """What a listing says of an object. Raises Unavailable."""
    with translated(f"the answer about {key}"):
        return _listed(key, blob)


def _listed(key: Key, blob: Blob) -> ObjectInfo:
    if blob.size is None or not (blob.md5_hash or blob.etag) or blob.time_created is None:
        raise Unavailable(f"the answer has no size, ETag or date of {key}: is it Google Cloud Storage that answers?")
    return ObjectInfo(key, int(blob.size), etag_of(blob), blob.time_created.timestamp())
