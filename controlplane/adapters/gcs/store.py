"""GcsStore: ports.object_store.ObjectStore over a bucket of Google Cloud Storage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Final, cast

from google.cloud.storage import Blob

from controlplane.adapters.gcs.client import GcsClient
from controlplane.adapters.gcs.objects import FIELDS, info_of, listed_info, object_name
from controlplane.adapters.gcs.options import GcsOptions
from controlplane.adapters.gcs.parts import GcsParts
from controlplane.adapters.gcs.reader import GcsReader
from controlplane.adapters.gcs.upload import put_body
from controlplane.adapters.object_notes import notes_of
from controlplane.adapters.parted_body import PartedBody
from controlplane.adapters.upload_records import HIDDEN, UploadRecords, refuse_hidden
from controlplane.model.content import Content
from controlplane.model.keys import Bucket, Key, StoreName
from controlplane.ports.errors import Conflict, Missing, NotFound, Rejected, Unavailable
from controlplane.ports.object_store import Body, ByteRange, ObjectInfo, Page

MOST_KEYS: Final = 1000
"""Google gives no more in one answer."""


class GcsStore:
    """Objects of one bucket under one prefix.

    if_absent: atomic (ifGenerationMatch=0). if_match, too: the object's generation is asked for first, one request. A
    body is verified before its object is visible, by this side's digests and by the service, which compares the MD5.
    An ETag is the object's MD5, which the service computes, but for objects completed of parts. Readers compare the
    CRC32C of the whole.

    Google says "not found" of an object and of a bucket alike, so whatever it does not find is asked for once more as a
    listing, which is about the bucket only: a miss costs two requests, and a missing bucket is never NotFound (I5).

    Memory for a put: three parts; for a reader: reader.READ_BYTES.
    """

    def __init__(self, name: StoreName, options: GcsOptions, client: GcsClient | None = None) -> None:
        """`client`: connections that several stores of one service share, and that somebody else closes."""
        self._name = name
        self._options = options
        self._owns_client = client is None
        self._client = client or GcsClient(options)
        records = UploadRecords(self._put_hidden, self._get_hidden, self._hidden_names, self._delete_hidden)
        self.parts = GcsParts(
            self._client,
            records,
            bucket=options.bucket,
            prefix=options.prefix,
            named=self._blob,
            hidden=self._hidden_blob,
            names=self._hidden_blobs,
            delete=self._delete_hidden,
            refuse_if_there=self._refuse_if_there,
            generation=self._generation,
        )

    @property
    def name(self) -> StoreName:
        return self._name

    @property
    def bucket(self) -> Bucket:
        return Bucket(self._options.bucket)

    async def put(
        self,
        key: Key,
        body: Body,
        *,
        size: int | None = None,
        content: Content | None = None,
        content_type: str = "application/octet-stream",
        metadata: Mapping[str, str] | None = None,
        if_absent: bool = False,
        if_match: str | None = None,
    ) -> ObjectInfo:
        blob = self._blob(key)
        blob.metadata = notes_of(content, content_type, metadata)
        whole = PartedBody(body, size=size, content=content, part_bytes=self._options.part_bytes)
        if if_absent and (whole.size is None or whole.size > self._options.part_bytes):
            await self._refuse_if_there(key)  # better to learn it before gigabytes went up
        what = self._what("PUT", key)
        generation = await self._generation(key, if_match) if if_match is not None else 0 if if_absent else None
        try:
            await put_body(self._client, what, blob, content_type, whole, generation=generation)
        except NotFound as error:
            raise self._missing(str(error)) from error
        put = listed_info(key, blob)
        return ObjectInfo(key, put.size, put.etag, put.modified_at, content_type, content, dict(metadata or {}))

    async def get(self, key: Key, *, byte_range: ByteRange | None = None) -> GcsReader:
        if byte_range is not None and not 0 <= byte_range.first <= byte_range.last:
            raise Rejected(f"bytes {byte_range.first} to {byte_range.last} are no range")
        what = self._what("GET", key)
        blob = await self._look(what, key)
        info = info_of(key, blob)
        if byte_range is not None and byte_range.last >= info.size:
            raise Rejected(
                f"{what}: bytes {byte_range.first} to {byte_range.last} leave the object of {info.size} bytes"
            )
        # Without what the service calls its link: that names an address of its own.
        pinned = blob.bucket.blob(blob.name, generation=blob.generation)
        first, length = (0, info.size) if byte_range is None else (byte_range.first, byte_range.length)
        return GcsReader(self._client, what, pinned, blob.crc32c, info, first, length)

    async def head(self, key: Key) -> ObjectInfo:
        return info_of(key, await self._look(self._what("HEAD", key), key))

    async def delete(self, key: Key, *, if_match: str | None = None) -> None:
        blob = self._blob(key)
        generation = None
        if if_match is not None:
            try:
                generation = await self._generation(key, if_match, "DELETE")
            except NotFound:
                return
        await self._delete(self._what("DELETE", key), blob, generation)

    async def list(self, *, prefix: str = "", after: Key | None = None, limit: int = 1000) -> Page:
        """At most min(limit, 1000) objects. Raises Unavailable for an answer that cannot be the truth."""
        if limit < 1:
            raise Rejected(f"a listing of {limit} keys")
        options = self._options
        start = None if after is None else options.prefix + after
        hidden, strip = options.prefix + HIDDEN, len(options.prefix)
        what = self._what("listing", prefix)
        # What the service begins with may be `after` itself.
        most = min(limit + (after is not None), MOST_KEYS)
        token: str | None = None
        while True:
            blobs, next_token = await self._answer(what, options.prefix + prefix, start, token, most)
            _require_order(what, blobs, options.prefix + prefix)
            found = [
                listed_info(Key(blob.name[strip:]), blob)
                for blob in blobs
                if (start is None or blob.name.encode() > start.encode()) and not blob.name.startswith(hidden)
            ]
            if found or next_token is None:
                break
            if next_token == token:
                raise Unavailable(f"{what}: the listing goes round in a circle")
            token = next_token
        more = next_token is not None or len(found) > limit
        found = found[:limit]
        return Page(tuple(found), found[-1].key if more else None)

    async def check(self) -> None:
        """Lists one object: proves the address, the credentials and the bucket; not the right to write."""
        try:
            await self.list(limit=1)
        except Missing as error:
            raise NotFound(str(error)) from error

    async def create_bucket(self) -> None:
        """Nothing when it is there. Raises Unavailable, Rejected."""
        options, client = self._options, self._client

        def create() -> None:
            client.client().create_bucket(
                options.bucket, project=options.project or None, location=options.location or None,
                timeout=client.timeout, retry=client.retry(),
            )  # fmt: skip

        try:
            await self.check()
        except NotFound:
            await client.ask(f"creating bucket gs://{options.bucket} at {options.endpoint}", create)

    async def aclose(self) -> None:
        if self._owns_client:
            await self._client.aclose()

    def _full(self, key: str) -> str:
        if not key:
            raise Rejected("an object has a key of at least one character")
        refuse_hidden(key)
        return object_name(self._options.prefix + key)

    def _what(self, verb: str, key: str) -> str:
        options = self._options
        return f"{verb} gs://{options.bucket}/{options.prefix}{key} at {options.endpoint}"

    def _blob(self, key: Key) -> Blob:
        return self._client.bucket(self._options.bucket).blob(self._full(key))

    def _missing(self, why: str) -> Missing:
        return Missing(f"{why}: bucket {self._options.bucket} does not exist: create it or set create_bucket")

    async def _look(self, what: str, key: Key) -> Blob:
        blob = self._blob(key)
        client = self._client
        try:
            await client.ask(
                what, lambda: blob.reload(projection="noAcl", timeout=client.timeout, retry=client.retry())
            )
        except NotFound:
            await self.list(prefix=key, limit=1)  # raises Missing when it is the bucket
            raise
        return blob

    async def _answer(
        self, what: str, prefix: str, start: str | None, token: str | None, most: int
    ) -> tuple[Sequence[Blob], str | None]:
        client = self._client

        def ask() -> tuple[Sequence[Blob], str | None]:
            listing = client.client().list_blobs(
                self._options.bucket, prefix=prefix or None, start_offset=start, page_token=token, page_size=most,
                fields=FIELDS, timeout=client.timeout, retry=client.retry(),
            )  # fmt: skip
            page = next(listing.pages, None)
            return [] if page is None else list(page), cast("str | None", listing.next_page_token)

        try:
            return await client.ask(what, ask)
        except NotFound as error:
            raise self._missing(str(error)) from error

    async def _refuse_if_there(self, key: Key) -> None:
        try:
            info = await self.head(key)
        except NotFound:
            return
        raise Conflict(f"{self._what('PUT', key)}: it exists already (ETag {info.etag})")

    async def _generation(self, key: Key, if_match: str, verb: str = "PUT") -> int:
        """Of the object, if that has this ETag. Raises Conflict; NotFound for a DELETE."""
        what = self._what(verb, key)
        try:
            blob = await self._look(what, key)
        except NotFound as error:
            if verb == "DELETE":
                raise
            raise Conflict(f"{what}: there is no object, least of all one with ETag {if_match}") from error
        found = info_of(key, blob).etag
        if found != if_match:
            raise Conflict(f"{what}: the object has ETag {found}, not {if_match}")
        return int(blob.generation)

    async def _delete(self, what: str, blob: Blob, generation: int | None = None) -> None:
        client = self._client
        try:
            await client.ask(
                what,
                lambda: blob.delete(if_generation_match=generation, timeout=client.timeout, retry=client.retry()),
            )
        except NotFound:
            await self._answer(what, blob.name, None, None, 1)  # raises Missing when it is the bucket

    # Records and parts of unfinished uploads, under names that no key has

    def _hidden_blob(self, name: str) -> Blob:
        return self._client.bucket(self._options.bucket).blob(self._options.prefix + name)

    async def _hidden_blobs(self, prefix: str) -> Sequence[Blob]:
        found: list[Blob] = []
        token: str | None = None
        while True:
            what = self._what("listing", prefix)
            blobs, token = await self._answer(what, self._options.prefix + prefix, None, token, MOST_KEYS)
            found += blobs
            if token is None:
                return found

    async def _hidden_names(self, prefix: str) -> Sequence[str]:
        return [blob.name.removeprefix(self._options.prefix) for blob in await self._hidden_blobs(prefix)]

    async def _put_hidden(self, name: str, data: bytes) -> None:
        blob, client = self._hidden_blob(name), self._client
        try:
            await client.ask(
                self._what("PUT", name),
                lambda: blob.upload_from_string(data, checksum="md5", timeout=client.timeout, retry=client.retry()),
            )
        except NotFound as error:
            raise self._missing(str(error)) from error

    async def _get_hidden(self, name: str) -> bytes:
        blob, client = self._hidden_blob(name), self._client
        what = self._what("GET", name)
        # Of the two, only this one says in its own words that something is not there.
        await client.ask(what, lambda: blob.reload(timeout=client.timeout, retry=client.retry()))
        pinned = blob.bucket.blob(blob.name, generation=blob.generation)
        data: bytes = await client.ask(
            what, lambda: pinned.download_as_bytes(timeout=client.timeout, retry=client.retry())
        )
        return data

    async def _delete_hidden(self, name: str) -> None:
        await self._delete(self._what("DELETE", name), self._hidden_blob(name))


def _require_order(what: str, blobs: Sequence[Blob], prefix: str) -> None:
    names = [blob.name.encode() for blob in blobs]
    if any(one >= other for one, other in pairwise(names)):
        raise Unavailable(f"{what}: the listing cannot be trusted: its names are not in order of their bytes")
    if not all(blob.name.startswith(prefix) for blob in blobs):
        raise Unavailable(f"{what}: the listing cannot be trusted: it has names without the prefix that was asked for")
