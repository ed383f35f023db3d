"""AzureBlobStore: ports.object_store.ObjectStore over a container of Azure Blob Storage."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import Any

from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError, ResourceExistsError
from azure.storage.blob.aio import BlobClient

from controlplane.adapters.azure.blobs import info_of
from controlplane.adapters.azure.client import AzureClient
from controlplane.adapters.azure.failures import error_of, translated
from controlplane.adapters.azure.listing import MOST_KEYS, AzureListing
from controlplane.adapters.azure.names import blob_name
from controlplane.adapters.azure.options import AzureOptions
from controlplane.adapters.azure.parts import AzureParts
from controlplane.adapters.azure.reader import AzureReader
from controlplane.adapters.azure.upload import Draft, put_body
from controlplane.adapters.object_notes import notes_of
from controlplane.adapters.parted_body import PartedBody
from controlplane.adapters.upload_records import HIDDEN, UploadRecords, refuse_hidden
from controlplane.model.content import Content
from controlplane.model.keys import Bucket, Key, StoreName
from controlplane.ports.errors import Conflict, Missing, NotFound, Rejected, Unavailable
from controlplane.ports.object_store import Body, ByteRange, ObjectInfo, Page

_WHOLE = re.compile(r"bytes \d+-\d+/(\d+)\Z")


class AzureBlobStore:
    """Blobs of one container under one prefix.

    if_absent: atomic. if_match, too: the blob's own tag is asked for first, one request. A body is verified before
    its blob is visible: by this side's digests before the last request, by the service, which compares the MD5 of
    each request's body. An ETag is the blob's MD5 (Content-MD5), which the service computes for blobs put in one
    request and keeps for others as it was told. Readers compare the MD5 of each range.

    Keys that Azure would refuse or take for others are Rejected (names.blob_name). Memory for a put: part_bytes *
    (part_concurrency + 2); for a reader: two ranges of client.READ_BYTES.
    """

    def __init__(self, name: StoreName, options: AzureOptions, client: AzureClient | None = None) -> None:
        """`client`: connections that several stores of one account share, and that somebody else closes."""
        self._name = name
        self._options = options
        self._owns_client = client is None
        self._client = client or AzureClient(options)
        self._listing = AzureListing(options.prefix, HIDDEN)
        records = UploadRecords(self._put_hidden, self._get_hidden, self._hidden_names, self._delete_hidden)
        self.parts = AzureParts(options.part_bytes, records, self._draft, self._tag_of)

    @property
    def name(self) -> StoreName:
        return self._name

    @property
    def bucket(self) -> Bucket:
        return Bucket(self._options.container)

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
        draft = self._draft(key, content_type, notes_of(content, content_type, metadata), if_absent)
        if if_match is not None:
            draft = replace(draft, match=await self._tag_of(key, if_match))
        whole = PartedBody(body, size=size, content=content, part_bytes=self._options.part_bytes)
        if if_absent and (whole.size is None or whole.size > self._options.part_bytes):
            await self._refuse_if_there(key)  # better to learn it before gigabytes went up
        put, found = await put_body(draft, whole, concurrency=self._options.part_concurrency)
        return ObjectInfo(key, found.size, put.etag, put.modified_at, content_type, content, dict(metadata or {}))

    async def get(self, key: Key, *, byte_range: ByteRange | None = None) -> AzureReader:
        what, name = self._what("GET", key), self._full(key)
        if byte_range is not None and not 0 <= byte_range.first <= byte_range.last:
            raise Rejected(f"bytes {byte_range.first} to {byte_range.last} are no range")
        part: Any = {} if byte_range is None else {"offset": byte_range.first, "length": byte_range.length}
        with translated(what):
            download = await self._client.blob(self._options.container, name).download_blob(
                validate_content=True, decompress=False, **part
            )
        properties = download.properties
        properties.size = _whole_size(properties.content_range, properties.size)
        info = info_of(key, properties)
        if byte_range is not None and byte_range.last >= info.size:
            raise Rejected(f"{what}: bytes {byte_range.first} to {byte_range.last} leave the blob of {info.size} bytes")
        length = info.size if byte_range is None else byte_range.length
        return AzureReader(what, info, length, download)

    async def head(self, key: Key) -> ObjectInfo:
        with translated(self._what("HEAD", key)):
            properties = await self._client.blob(self._options.container, self._full(key)).get_blob_properties()
        return info_of(key, properties)

    async def delete(self, key: Key, *, if_match: str | None = None) -> None:
        tag = None
        if if_match is not None:
            try:
                tag = await self._tag_of(key, if_match, "DELETE")
            except NotFound:
                return
        await self._delete(self._what("DELETE", key), self._full(key), tag)

    async def list(self, *, prefix: str = "", after: Key | None = None, limit: int = 1000) -> Page:
        return await self._listing.page(self._client.container(self._options.container), prefix, after, limit)

    async def check(self) -> None:
        """Lists one blob: proves the address, the credentials and the container; not the right to write."""
        try:
            await self.list(limit=1)
        except Missing as error:
            raise NotFound(
                f"container {self._options.container} does not exist at {self._options.endpoint}: create it or set "
                "create_bucket"
            ) from error

    async def create_bucket(self) -> None:
        """Nothing when it is there. Raises Unavailable, Rejected."""
        with translated(f"creating container {self._options.container} at {self._options.endpoint}"):
            try:
                await self._client.container(self._options.container).create_container()
            except ResourceExistsError as error:
                if error.status_code != HTTPStatus.CONFLICT or "BeingDeleted" in str(error):
                    raise

    async def aclose(self) -> None:
        if self._owns_client:
            await self._client.aclose()

    def _full(self, key: str) -> str:
        if not key:
            raise Rejected("an object has a key of at least one character")
        refuse_hidden(key)
        return blob_name(self._options.prefix + key)

    def _what(self, verb: str, key: str) -> str:
        options = self._options
        return f"{verb} azure://{options.container}/{options.prefix}{key} at {options.endpoint}"

    def _draft(self, key: Key, content_type: str, notes: Mapping[str, str], if_absent: bool) -> Draft:
        blob = self._client.blob(self._options.container, self._full(key))
        return Draft(blob, self._what("PUT", key), content_type, notes, if_absent)

    async def _refuse_if_there(self, key: Key) -> None:
        try:
            info = await self.head(key)
        except NotFound:
            return
        raise Conflict(f"{self._what('PUT', key)}: it exists already (ETag {info.etag})")

    async def _tag_of(self, key: Key, if_match: str, verb: str = "PUT") -> str:
        """The service's own tag of the blob, if that has this ETag. Raises Conflict; NotFound for a DELETE."""
        what = self._what(verb, key)
        try:
            with translated(what):
                properties = await self._client.blob(self._options.container, self._full(key)).get_blob_properties()
        except NotFound as error:
            if verb == "DELETE":
                raise
            raise Conflict(f"{what}: there is no blob, least of all one with ETag {if_match}") from error
        found = info_of(key, properties).etag
        if found != if_match:
            raise Conflict(f"{what}: the blob has ETag {found}, not {if_match}")
        return str(properties.etag)

    async def _delete(self, what: str, name: str, tag: str | None = None) -> None:
        unchanged: Any = {} if tag is None else {"etag": tag, "match_condition": MatchConditions.IfNotModified}
        with translated(what):
            try:
                await self._client.blob(self._options.container, name).delete_blob(
                    delete_snapshots="include", **unchanged
                )
            except HttpResponseError as error:
                if not isinstance(error_of(error, what), NotFound):
                    raise

    # Records of unfinished uploads, under names that no key has

    async def _put_hidden(self, name: str, data: bytes) -> None:
        with translated(self._what("PUT", name)):
            await self._hidden_blob(name).upload_blob(data, length=len(data), overwrite=True, validate_content=True)

    async def _get_hidden(self, name: str) -> bytes:
        with translated(self._what("GET", name)):
            return await (await self._hidden_blob(name).download_blob(validate_content=True)).readall()

    async def _hidden_names(self, prefix: str) -> Sequence[str]:
        found: list[str] = []
        container = self._client.container(self._options.container)
        with translated(self._what("listing", prefix)):
            blobs = container.list_blobs(name_starts_with=self._options.prefix + prefix, results_per_page=MOST_KEYS)
            async for blob in blobs:
                found.append(blob.name.removeprefix(self._options.prefix))  # noqa: PERF401 - an asynchronous loop
        return found

    async def _delete_hidden(self, name: str) -> None:
        await self._delete(self._what("DELETE", name), self._options.prefix + name)

    def _hidden_blob(self, name: str) -> BlobClient:
        return self._client.blob(self._options.container, self._options.prefix + name)


def _whole_size(content_range: str | None, size: int | None) -> int:
    """The size of the blob behind a download of all or some of it. Raises Unavailable."""
    match = _WHOLE.match(content_range or "")
    if match is not None:
        return int(match[1])
    if size == 0:
        return 0
    raise Unavailable(
        f"the answer has no Content-Range that can be read ({content_range!r}): is it Azure that answers?"
    )
