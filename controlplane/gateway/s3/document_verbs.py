"""Tags, CORS and lifecycle of buckets, tags of objects: kept by the gateway, for Riak CS would take each of them for
another operation (sub-object-after-tagging, sub-put-cors, sub-put-lifecycle)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from controlplane.gateway.s3.answers import empty, xml
from controlplane.gateway.s3.bodies import Bodies
from controlplane.gateway.s3.call import Call
from controlplane.gateway.s3.reading import ObjectReading
from controlplane.gateway.s3.stored_object import length_of
from controlplane.http import Response
from controlplane.ports.write_log import WriteLog
from controlplane.s3.documents.bucket_documents import not_configured
from controlplane.s3.documents.cors import Cors, actual, forbidden, parse_cors, preflight, render_cors
from controlplane.s3.documents.lifecycle_xml import parse_lifecycle, render_lifecycle
from controlplane.s3.documents.object_extras import ObjectExtras
from controlplane.s3.documents.tagging import Tagged, Tags, parse_tagging, render_tagging
from controlplane.s3.etag import unquote_etag
from controlplane.s3.fault import Code, S3Fault
from controlplane.s3.operation import Operation
from controlplane.services.s3.object_records import identity_of
from controlplane.services.s3.subresources import Kind, Subresources

DOCUMENT_READS: Final = {
    Operation.GET_BUCKET_TAGGING: Kind.TAGGING,
    Operation.GET_BUCKET_CORS: Kind.CORS,
    Operation.GET_BUCKET_LIFECYCLE: Kind.LIFECYCLE,
}
DOCUMENT_DELETES: Final = {
    Operation.DELETE_BUCKET_TAGGING: Kind.TAGGING,
    Operation.DELETE_BUCKET_CORS: Kind.CORS,
    Operation.DELETE_BUCKET_LIFECYCLE: Kind.LIFECYCLE,
}


class BucketDocuments:
    def __init__(self, subresources: Subresources, bodies: Bodies) -> None:
        self._subresources = subresources
        self._bodies = bodies

    async def get(self, call: Call) -> Response:
        kind = DOCUMENT_READS[call.operation]
        found = await self._subresources.bucket_document(call.bucket, kind, owner=_owner(call), fresh=True)
        if found is None:
            raise not_configured(call.operation)
        return xml(call.request, found)

    async def delete(self, call: Call) -> Response:
        await self._subresources.delete_bucket_document(call.bucket, DOCUMENT_DELETES[call.operation])
        return Response(204, empty(call.request).headers)

    async def put_tagging(self, call: Call) -> Response:
        tags = parse_tagging(await self._bodies.document(call), Tagged.BUCKET)
        await self._subresources.put_bucket_document(
            call.bucket, Kind.TAGGING, render_tagging(tags), owner=_owner(call)
        )
        return Response(204, empty(call.request).headers)

    async def put_cors(self, call: Call) -> Response:
        rules = parse_cors(await self._bodies.document(call))
        await self._subresources.put_bucket_document(call.bucket, Kind.CORS, render_cors(rules), owner=_owner(call))
        return empty(call.request)

    async def put_lifecycle(self, call: Call) -> Response:
        rules = parse_lifecycle(await self._bodies.document(call))
        document = render_lifecycle(rules)
        await self._subresources.put_bucket_document(call.bucket, Kind.LIFECYCLE, document, owner=_owner(call))
        return empty(call.request)


def _owner(call: Call) -> str:
    return call.bucket_facts.acl.owner.id


class CrossOrigin:
    """What browsers ask before and after."""

    def __init__(self, subresources: Subresources) -> None:
        self._subresources = subresources

    async def preflight(self, call: Call) -> Response:
        rules = await self._rules(call.bucket) if call.bucket else None
        if rules is None:
            raise forbidden()
        return empty(call.request, 200, *_fields(preflight(rules, call.headers)))

    async def added(self, call: Call, response: Response) -> Response:
        """The answer with what its Origin may see of it. That to a preflight has it already, or is a refusal."""
        origin = call.header(b"origin")
        if (
            call.operation is Operation.PREFLIGHT
            or origin is None
            or not call.bucket
            or not isinstance(response.headers, list)
        ):
            return response
        rules = await self._rules(call.bucket)
        if rules is not None:
            method = call.headers.get("access-control-request-method", call.request.method)
            response.headers += _fields(actual(rules, origin.decode("latin-1"), method))
        return response

    async def _rules(self, bucket: str) -> Cors | None:
        found = await self._subresources.bucket_document(bucket, Kind.CORS)
        return parse_cors(found) if found is not None else None


class ObjectTags:
    def __init__(self, subresources: Subresources, bodies: Bodies, reading: ObjectReading, writes: WriteLog) -> None:
        """`writes`: told of changed tags as of any write, so that copies get them too."""
        self._writes = writes
        self._subresources = subresources
        self._bodies = bodies
        self._reading = reading

    async def get(self, call: Call) -> Response:
        identity = identity_of(await self._look(call))
        extras = await self._subresources.extras(call.bucket, call.key, identity, certain=True)
        return xml(call.request, render_tagging(extras.tags))

    async def put(self, call: Call) -> Response:
        tags = parse_tagging(await self._bodies.document(call), Tagged.OBJECT)
        await self._keep(call, tags)
        return empty(call.request)

    async def delete(self, call: Call) -> Response:
        await self._keep(call, ())
        return Response(204, empty(call.request).headers)

    async def _keep(self, call: Call, tags: Tags) -> None:
        await self._look(call)  # what is not there is no write
        await self._writes.ready(call.bucket, call.key)
        found = await self._look(call)
        identity = identity_of(found)
        kept = await self._subresources.extras(call.bucket, call.key, identity, certain=True)
        extras = ObjectExtras(tags, kept.checksum, kept.parts)
        await self._subresources.keep_extras(call.bucket, call.key, identity, extras)
        await self._writes.wrote(call.bucket, call.key, unquote_etag(found.get("etag", "")), length_of(found))

    async def _look(self, call: Call) -> Mapping[str, str]:
        if call.parameter("versionId") not in (None, "", "null"):
            raise S3Fault(Code.NOT_IMPLEMENTED, "Tags of versions are not kept.")
        return await self._reading.look(call)


def _fields(headers: tuple[tuple[str, str], ...]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode("latin-1"), value.encode("latin-1", "replace")) for name, value in headers]
