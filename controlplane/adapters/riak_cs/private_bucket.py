"""The private bucket of the S3 front in Riak CS, owned by the admin user and made at its first use."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Unpack

from controlplane.adapters.riak_cs.client import RiakCsClient
from controlplane.adapters.riak_cs.options import RiakCsOptions
from controlplane.adapters.s3 import S3ObjectStore, S3Options
from controlplane.adapters.s3.reader import S3Reader
from controlplane.model.keys import Key, StoreName
from controlplane.ports.clock import Clock
from controlplane.ports.errors import Rejected, Unavailable
from controlplane.ports.object_store import Body, ByteRange, ObjectInfo, Page, PutOptions
from controlplane.ports.upstream import Ask, KeyPair, RenewableKeyPair


class PrivateBucket(S3ObjectStore):
    """An ObjectStore like any other, but that its bucket is created when it is missing."""

    def __init__(self, options: RiakCsOptions, admin: KeyPair, bucket: str, clock: Clock, random: Random) -> None:
        store = S3Options(
            endpoints=options.endpoints,
            bucket=bucket,
            access_key=admin.access_key,
            secret_key=admin.secret_key,
            renewal=admin.renewal if isinstance(admin, RenewableKeyPair) else None,
            signature="v2",
            list_version=1,
            conditional_put=False,
            ca_file=options.ca_file,
            connections=options.connections,
            connect_timeout_s=options.connect_timeout_s,
            read_timeout_s=options.read_timeout_s,
            silence_s=options.silence_s,
            attempts=options.attempts,
        )
        super().__init__(StoreName("s3-documents"), store, clock=clock, random=random)
        self._maker = RiakCsClient(options, clock, random)
        self._admin = admin
        self._private = bucket
        self._made = False
        self._making = asyncio.Lock()

    async def put(self, key: Key, body: Body, **options: Unpack[PutOptions]) -> ObjectInfo:
        await self._ensure()
        return await super().put(key, body, **options)

    async def get(self, key: Key, *, byte_range: ByteRange | None = None) -> S3Reader:
        await self._ensure()
        return await super().get(key, byte_range=byte_range)

    async def delete(self, key: Key, *, if_match: str | None = None) -> None:
        await self._ensure()
        await super().delete(key, if_match=if_match)

    async def list(self, *, prefix: str = "", after: Key | None = None, limit: int = 1000) -> Page:
        await self._ensure()
        return await super().list(prefix=prefix, after=after, limit=limit)

    async def aclose(self) -> None:
        await super().aclose()
        await self._maker.aclose()

    async def _ensure(self) -> None:
        if not self._made:
            async with self._making:
                await self._make()

    async def _make(self) -> None:
        """Raises Unavailable, Rejected (the name belongs to somebody else)."""
        if self._made:
            return
        head = await self._maker.send(Ask("HEAD", self._admin, self._private))
        head.close()
        if head.status == 404:
            # Never over an existing one: a second CreateBucket resets the ACL. 404 is also "not yours".
            made = await self._maker.send(Ask("PUT", self._admin, self._private, headers={"x-amz-acl": "private"}))
            made.close()
            if made.status == 409:
                raise Rejected(
                    f"the bucket {self._private} belongs to another user of Riak CS: "
                    "set s3.private_bucket to a name that is free"
                )
            if made.status != 200:
                raise Unavailable(f"Riak CS answered {made.status} to creating the bucket {self._private}")
        elif head.status != 200:
            raise Unavailable(f"Riak CS answered {head.status} to looking for the bucket {self._private}")
        self._made = True
