"""What is kept beside an object (tags, checksums, parts) when the object is written, copied or deleted."""

from __future__ import annotations

import logging
from base64 import b64decode
from collections.abc import Mapping

from controlplane.ports.errors import MillraceError, Unavailable
from controlplane.ports.upstream import Ask, KeyPair, Upstream
from controlplane.s3.checksums import Algorithm
from controlplane.s3.documents.checksum_elements import StoredChecksum
from controlplane.s3.documents.object_attributes import ObjectPart
from controlplane.s3.documents.object_extras import NOTHING, ObjectExtras
from controlplane.s3.documents.tagging import Tags, parse_tagging_header
from controlplane.s3.etag import unquote_etag
from controlplane.s3.own_metadata import ACL, OWN_METADATA, RECORDED, TAGGING
from controlplane.services.s3.refusals import refusal
from controlplane.services.s3.subresources import Subresources

log = logging.getLogger(__name__)


def identity_of(found: Mapping[str, str]) -> str:
    """What tells an object from every other one that is ever put under its key, but for the same bytes put again within
    the same second: then the writer drops the record."""
    return f"{found.get('etag', '')} {found.get('last-modified', '')}"


class ObjectRecords:
    """`admin` looks at objects whose writer may not read them."""

    def __init__(self, upstream: Upstream, subresources: Subresources, admin: KeyPair) -> None:
        self._upstream = upstream
        self._subresources = subresources
        self._admin = admin

    async def written(
        self, bucket: str, key: str, etag: str, tags: Tags, checksum: StoredChecksum | None = None
    ) -> None:
        """Before the write is acknowledged: an object with tags has them from the start. `etag` without quotes;
        `checksum` only where it is not among the object's own headers. Raises Unavailable."""
        extras = ObjectExtras(tags, checksum)
        if extras.empty:
            await self.gone(bucket, key)
            return
        found = await self._still(bucket, key, etag)
        if found is not None:
            await self._subresources.keep_extras(bucket, key, identity_of(found), extras)

    async def put_back(self, bucket: str, key: str, etag: str, was: Mapping[str, str], tags: Tags) -> None:
        """An object that was lost is there again, from its copy, with the tags of the copy; or with those that are kept
        of the lost one (`was` are its headers), which may be newer. Raises Unavailable, Corrupt, S3Fault."""
        tags = (await self._subresources.extras(bucket, key, identity_of(was))).tags or tags
        if tags:
            await self.written(bucket, key, etag, tags)

    async def completed(
        self,
        bucket: str,
        key: str,
        signer: KeyPair | None,
        etag: str,
        checksum: StoredChecksum | None,
        parts: tuple[ObjectPart, ...],
    ) -> StoredChecksum | None:
        """The same of an object that was put together of parts, with the tags and grants that its upload began with.
        `signer` began it and owns the object. Without
        `parts` (a repeated completion, which cannot tell) what is kept of it already stays. The checksum kept now.

        Raises Unavailable."""
        found = await self._still(bucket, key, etag)
        if found is None:
            return checksum
        if ACL in found:
            await self._put_acl(bucket, key, signer, b64decode(found[ACL]))
        given, identity = found.get(TAGGING, ""), identity_of(found)
        tags = parse_tagging_header(given) if given else ()
        if not parts:
            kept = await self._subresources.extras(bucket, key, identity, certain=True)
            checksum, parts = kept.checksum or checksum, kept.parts
        await self._subresources.keep_extras(bucket, key, identity, ObjectExtras(tags, checksum, parts))
        return checksum

    async def _put_acl(self, bucket: str, key: str, signer: KeyPair | None, document: bytes) -> None:
        headers = {"content-type": "application/xml"}
        ask = Ask("PUT", signer, bucket, key, (("acl", ""),), headers, document, len(document))
        reply = await self._upstream.send(ask)
        if reply.status != 200:
            raise await refusal(reply, key=True)
        reply.close()

    async def _still(self, bucket: str, key: str, etag: str) -> Mapping[str, str] | None:
        """The headers of the object that was just written; None when another write or a delete came after it."""
        reply = await self._upstream.send(Ask("HEAD", self._admin, bucket, key))
        if reply.status == 404:
            reply.close()
            return None
        if reply.status != 200:
            raise await refusal(reply, key=True)
        reply.close()
        return reply.headers if unquote_etag(reply.headers.get("etag", "")) == etag else None

    async def gone(self, bucket: str, key: str) -> None:
        """The object that a record was about is not there any more. A record that stays does no harm."""
        try:
            await self._subresources.forget_object(bucket, key)
        except MillraceError as error:
            log.warning("the record of s3://%s/%s stays: %s", bucket, key, error)

    async def tags_now(self, bucket: str, key: str) -> Tags:
        """Of the object that is there now; none when there is none. Raises Unavailable, Corrupt."""
        reply = await self._upstream.send(Ask("HEAD", self._admin, bucket, key))
        reply.close()
        if reply.status == 404:
            return ()
        if reply.status != 200:
            raise Unavailable(f"Riak CS answers {reply.status} to a look at s3://{bucket}/{key[:200]}")
        return await self.tags_of(bucket, key, reply.headers)

    async def tags_of(self, bucket: str, key: str, found: Mapping[str, str]) -> Tags:
        """Raises Unavailable, Corrupt."""
        return (await self._subresources.extras(bucket, key, identity_of(found))).tags

    async def sums_of(self, bucket: str, key: str, found: Mapping[str, str]) -> ObjectExtras:
        """Checksum and parts of an object of which `found` are the headers. Raises Unavailable, Corrupt."""
        if RECORDED in found:
            recorded = await self._subresources.extras(bucket, key, identity_of(found), certain=True)
            if recorded.checksum is not None or recorded.parts:
                return recorded
        for algorithm in Algorithm:
            text = found.get(OWN_METADATA + algorithm.header.removeprefix("x-amz-"))
            if text is not None:
                return ObjectExtras(checksum=StoredChecksum(algorithm, text))
        return NOTHING
