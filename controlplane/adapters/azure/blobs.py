"""A blob's properties as the port's values, and back."""

from __future__ import annotations

from azure.storage.blob import BlobProperties, ContentSettings

from controlplane.adapters.azure.names import plain_names
from controlplane.adapters.object_notes import read_notes
from controlplane.adapters.s3.metadata import OCTETS
from controlplane.model.content import Md5
from controlplane.model.keys import Key
from controlplane.ports.errors import Unavailable
from controlplane.ports.object_store import ObjectInfo


def content_settings(content_type: str, md5: Md5) -> ContentSettings:
    return ContentSettings(content_type=content_type, content_md5=bytearray.fromhex(md5))


def etag_of(properties: BlobProperties) -> str:
    """The MD5 where the service has one, since ETags are that in the port; else the service's own, which is none."""
    md5 = properties.content_settings.content_md5
    return bytes(md5).hex() if md5 else str(properties.etag).strip('"')


def info_of(key: Key, properties: BlobProperties) -> ObjectInfo:
    """Raises Unavailable for an answer that is not a blob's."""
    if properties.size is None or properties.etag is None or properties.last_modified is None:
        raise Unavailable(f"the answer for {key} has no size, ETag or date: is it Azure that answers?")
    settings = properties.content_settings
    content, metadata = read_notes(plain_names(properties.metadata or {}))
    headers = {
        "cache-control": settings.cache_control,
        "content-disposition": settings.content_disposition,
        "content-encoding": settings.content_encoding,
        "content-language": settings.content_language,
    }
    return ObjectInfo(
        key,
        properties.size,
        etag_of(properties),
        properties.last_modified.timestamp(),
        settings.content_type or OCTETS,
        content,
        metadata,
        {name: value for name, value in headers.items() if value},
    )


def listed_info(key: Key, properties: BlobProperties) -> ObjectInfo:
    """What a listing says of a blob. Raises Unavailable."""
    if properties.size is None or properties.etag is None or properties.last_modified is None:
        raise Unavailable(f"the listing has no size, ETag or date of {key}: is it Azure that answers?")
    return ObjectInfo(key, properties.size, etag_of(properties), properties.last_modified.timestamp())
