"""What is kept beside an object (tags) when the object is written, copied or deleted."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from controlplane.ports.errors import MillraceError, Unavailable
from controlplane.ports.upstream import Ask, KeyPair, Upstream
from controlplane.s3.documents.object_extras import ObjectExtras
from controlplane.s3.documents.tagging import Tags
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

    async def written(self, bucket: str, key: str, tags: Tags) -> None:
        """Before the write is acknowledged: an object with tags has them from the start. Raises Unavailable."""
        if not tags:
            await self.gone(bucket, key)
            return
        reply = await self._upstream.send(Ask("HEAD", self._admin, bucket, key))
        if reply.status != 200:
            raise await refusal(reply, key=True)
        reply.close()
        await self._subresources.keep_extras(bucket, key, identity_of(reply.headers), ObjectExtras(tags))

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
