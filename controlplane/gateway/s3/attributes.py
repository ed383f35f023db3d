"""GetObjectAttributes, from what HEAD tells and what the gateway keeps. Riak CS sends the object itself
(sub-object-get-attributes)."""

from __future__ import annotations

from controlplane.gateway.s3.answers import xml
from controlplane.gateway.s3.call import Call
from controlplane.gateway.s3.reading import ObjectReading
from controlplane.gateway.s3.stored_object import length_of
from controlplane.http import Response
from controlplane.ports.errors import Unavailable
from controlplane.s3.documents.object_attributes import Attributes, parse_attributes_request, render_attributes
from controlplane.s3.etag import is_multipart, unquote_etag
from controlplane.services.s3.object_records import ObjectRecords


class AttributesVerb:
    def __init__(self, reading: ObjectReading, records: ObjectRecords) -> None:
        self._reading = reading
        self._records = records

    async def get(self, call: Call) -> Response:
        wanted = parse_attributes_request(call.headers)
        found = await self._reading.look(call)
        etag, size = unquote_etag(found.get("etag", "")), length_of(found)
        if size is None:
            raise Unavailable("Riak CS answered HEAD without a Content-Length")
        count = int(etag.rpartition("-")[2]) if is_multipart(etag) else 0
        kept = await self._records.sums_of(call.bucket, call.key, found)
        attributes = Attributes(etag, size, checksum=kept.checksum, part_count=count, parts=kept.parts)
        more = ((b"last-modified", found.get("last-modified", "").encode()),)
        return xml(call.request, render_attributes(wanted, attributes), more=more)
