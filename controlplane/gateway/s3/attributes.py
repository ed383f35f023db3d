"""GetObjectAttributes, from what HEAD tells and what the gateway keeps. Riak CS sends the object itself
(sub-object-get-attributes)."""

from __future__ import annotations

from collections.abc import Mapping

from controlplane.gateway.s3.answers import OWN_METADATA, xml
from controlplane.gateway.s3.call import Call
from controlplane.gateway.s3.reading import ObjectReading, length_of
from controlplane.http import Response
from controlplane.ports.errors import Unavailable
from controlplane.s3.checksums import Algorithm, ChecksumType
from controlplane.s3.documents.checksum_elements import StoredChecksum
from controlplane.s3.documents.object_attributes import Attributes, parse_attributes_request, render_attributes
from controlplane.s3.etag import is_multipart, unquote_etag


class AttributesVerb:
    def __init__(self, reading: ObjectReading) -> None:
        self._reading = reading

    async def get(self, call: Call) -> Response:
        wanted = parse_attributes_request(call.headers)
        found = await self._reading.look(call)
        etag, size = unquote_etag(found.get("etag", "")), length_of(found)
        if size is None:
            raise Unavailable("Riak CS answered HEAD without a Content-Length")
        parts = int(etag.rpartition("-")[2]) if is_multipart(etag) else 0
        attributes = Attributes(etag, size, checksum=kept_checksum(found), part_count=parts)
        more = ((b"last-modified", found.get("last-modified", "").encode()),)
        return xml(call.request, render_attributes(wanted, attributes), more=more)


def kept_checksum(found: Mapping[str, str]) -> StoredChecksum | None:
    """The checksum that the gateway keeps beside the object."""
    for algorithm in Algorithm:
        text = found.get(OWN_METADATA + algorithm.header.removeprefix("x-amz-"))
        if text is not None:
            return StoredChecksum(algorithm, text, ChecksumType.FULL_OBJECT)
    return None
