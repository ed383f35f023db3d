"""Who began the uploads of a bucket. To the bucket's owner Riak CS shows everybody's, to others only their own
(recording mp-list-uploads-bob), and names users by their access keys (mp-list-uploads). It lets only whoever began an
upload end it or see its parts; in S3 the bucket's owner may, too.

Source of what the recordings do not show: Riak CS, riak_cs_mp_utils.erl.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from controlplane.ports.accounts import Account
from controlplane.ports.errors import NotFound, Unavailable
from controlplane.ports.upstream import Ask, KeyPair, Reply, Upstream
from controlplane.s3.access.principals import User
from controlplane.s3.documents.multipart_listing import Upload
from controlplane.s3.listing import MalformedListing
from controlplane.s3.riakcs.listings import parse_uploads
from controlplane.services.s3.callers import Callers
from controlplane.services.s3.refusals import refusal

_MAX_BYTES: Final = 16 * 1024 * 1024


class UploadOwners:
    def __init__(self, upstream: Upstream, callers: Callers) -> None:
        self._upstream = upstream
        self._callers = callers

    async def listed(self, bucket: str, signer: KeyPair | None) -> tuple[Upload, ...]:
        """As Riak CS has them: owners by access key. Raises S3Fault, Unavailable."""
        reply = await self._upstream.send(Ask("GET", signer, bucket, query=(("uploads", ""),)))
        if reply.status != 200:
            raise await refusal(reply, key=False)
        try:
            return parse_uploads(await reply.read_all(_MAX_BYTES))
        except MalformedListing as error:
            raise Unavailable(f"Riak CS answered the uploads of {bucket} with what cannot be read: {error}") from error
        finally:
            reply.close()

    async def named(self, uploads: Iterable[Upload]) -> tuple[Upload, ...]:
        """The same with canonical ids. Raises Unavailable."""
        known: dict[str, User] = {}
        for upload in uploads:
            key = upload.owner.id
            if key not in known:
                account = await self._account(key)
                # Who is no user any more keeps the name that Riak CS has kept.
                known[key] = User(account.id, account.display_name) if account is not None else upload.owner
        return tuple(replace(upload, owner=known[upload.owner.id]) for upload in uploads)

    async def keys_of(self, bucket: str, key: str, upload_id: str, signer: KeyPair | None) -> KeyPair | None:
        """The keys of whoever began this upload; None when `signer` cannot see it, or began it. Raises S3Fault,
        Unavailable."""
        for upload in await self.listed(bucket, signer):
            if (upload.key, upload.upload_id) == (key, upload_id):
                if signer is not None and upload.owner.id == signer.access_key:
                    return None
                account = await self._account(upload.owner.id)
                return account.keys if account is not None else None
        return None

    async def send(self, ask: Ask) -> tuple[Reply, User | None]:
        """A request about one upload, which the caller may make by S3's rules: the bucket's owner about everybody's.
        With whose keys it was answered, where it was not the signer. Raises S3Fault, Unavailable."""
        reply = await self._upstream.send(ask)
        if reply.status != 403:
            return reply, None
        upload_id = dict(ask.query)["uploadId"]
        keys = await self.keys_of(ask.bucket, ask.key, upload_id, ask.signer)
        account = await self._account(keys.access_key) if keys is not None else None
        if account is None:
            return reply, None
        reply.close()
        return await self._upstream.send(replace(ask, signer=account.keys)), User(account.id, account.display_name)

    async def _account(self, access_key: str) -> Account | None:
        try:
            return await self._callers.by_key(access_key)
        except NotFound:
            return None
