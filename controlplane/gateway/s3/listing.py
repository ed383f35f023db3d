"""Listings: of buckets, objects (versions 1 and 2), versions, uploads, parts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

from controlplane.gateway.s3.answers import xml
from controlplane.gateway.s3.call import Call, user_of
from controlplane.http import Response
from controlplane.ports.errors import Unavailable
from controlplane.ports.upstream import Ask, Reply, Upstream
from controlplane.s3.access.principals import User
from controlplane.s3.documents.bucket_documents import parse_list_buckets, render_buckets
from controlplane.s3.documents.multipart_listing import (
    distinct_parts,
    page_of_uploads,
    parse_list_parts,
    parse_list_uploads,
    render_parts,
    render_uploads,
)
from controlplane.s3.documents.object_listing import (
    ListV1,
    ListV2,
    ListVersions,
    ObjectPage,
    parse_list_v1,
    parse_list_v2,
    parse_list_versions,
    render_list_v1,
    render_list_v2,
    render_versions,
)
from controlplane.s3.listing import MalformedListing
from controlplane.s3.riakcs.listings import list_query, parse_buckets, parse_objects, parse_parts
from controlplane.services.s3.part_records import PartRecords
from controlplane.services.s3.refusals import refusal
from controlplane.services.s3.upload_owners import UploadOwners

_MAX_PAGE_BYTES: Final = 16 * 1024 * 1024
_EMPTY: Final = ObjectPage((), (), truncated=False)


class Listings:
    def __init__(self, upstream: Upstream, parts: PartRecords, owners: UploadOwners) -> None:
        self._upstream = upstream
        self._owners = owners
        self._part_records = parts

    async def buckets(self, call: Call) -> Response:
        wanted = parse_list_buckets(call.query)
        document = await self._document(Ask("GET", call.signer))
        with _readable("the list of buckets"):
            owner, found = parse_buckets(document)
        return xml(call.request, render_buckets(wanted, owner, found))

    async def objects_v1(self, call: Call) -> Response:
        wanted = parse_list_v1(call.bucket, call.query)
        return xml(call.request, render_list_v1(wanted, await self._page(call, wanted)))

    async def objects_v2(self, call: Call) -> Response:
        wanted = parse_list_v2(call.bucket, call.query)
        return xml(call.request, render_list_v2(wanted, await self._page(call, wanted)))

    async def versions(self, call: Call) -> Response:
        wanted = parse_list_versions(call.bucket, call.query)
        return xml(call.request, render_versions(wanted, await self._page(call, wanted)))

    async def uploads(self, call: Call) -> Response:
        wanted = parse_list_uploads(call.bucket, call.query)
        page = page_of_uploads(await self._owners.listed(call.bucket, call.signer), wanted)
        named = replace(page, uploads=await self._owners.named(page.uploads))
        return xml(call.request, render_uploads(wanted, named))

    async def parts(self, call: Call) -> Response:
        upload_id = call.parameter("uploadId") or ""
        wanted = parse_list_parts(call.bucket, call.key, call.query)
        reply, owner = await self._owners.send(call.ask("GET", query=(("uploadId", upload_id),)))
        document = await _whole(reply, key=True)
        with _readable("the list of parts"):
            found = distinct_parts(parse_parts(document))
        records = await self._part_records.of(call.bucket, upload_id)
        parts = [replace(part, checksum=records.checksum(part.number, part.etag)) for part in found]
        return xml(call.request, render_parts(wanted, parts, owner or _owner(call), records.kind))

    async def _page(self, call: Call, wanted: ListV1 | ListV2 | ListVersions) -> ObjectPage:
        if wanted.max_keys == 0:
            return _EMPTY
        query = list_query(wanted.prefix, wanted.delimiter, wanted.after, wanted.max_keys)
        document = await self._document(Ask("GET", call.signer, call.bucket, query=query))
        with _readable(f"the listing of s3://{call.bucket}"):
            return parse_objects(document)

    async def _document(self, ask: Ask) -> bytes:
        """Raises S3Fault, Unavailable."""
        return await _whole(await self._upstream.send(ask), key=bool(ask.key))


async def _whole(reply: Reply, *, key: bool) -> bytes:
    if reply.status != 200:
        raise await refusal(reply, key=key)
    try:
        return await reply.read_all(_MAX_PAGE_BYTES)
    finally:
        reply.close()


@contextmanager
def _readable(what: str) -> Iterator[None]:
    """An answer that cannot be read is an outage, never an empty listing (I5)."""
    try:
        yield
    except MalformedListing as error:
        raise Unavailable(f"Riak CS answered {what} with what cannot be read: {error}") from error


def _owner(call: Call) -> User:
    return user_of(call.account) if call.account is not None else call.bucket_facts.acl.owner
