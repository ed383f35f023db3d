"""/peers/blobs/<guid> and /peers/objects/<digest>: what is being fetched here, for other gateways and workers."""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

from controlplane.gateway.reply_chunks import ReplyChunks
from controlplane.gateway.representation import Fields, blob_fields, body_of
from controlplane.http import Request, Response, StreamBody
from controlplane.model.content import parse_guid
from controlplane.ports.errors import NotFound
from controlplane.ports.object_store import ByteRange, ObjectInfo, ObjectReader
from controlplane.ports.peers import ASKER, OBJECT, Asker, object_note
from controlplane.services.fetch_sharing import FetchSharing
from controlplane.services.object_replies import Streamed
from controlplane.services.reading import BlobReader

_ANSWER_WITHIN_S: Final = 3.0
_ASKER = ASKER.encode()
_OBJECT = OBJECT.encode()
_ASKERS: Final = {asker.value.encode(): asker for asker in Asker}


class ShownObjects(Protocol):
    async def open_shown(self, name: str, asker: Asker) -> tuple[ObjectInfo, Streamed]:
        """The object that is being fetched here under that name of ports.peers. Raises NotFound when none is."""
        ...


class PeerApi:
    def __init__(self, blobs: BlobReader, sharing: FetchSharing) -> None:
        self._blobs = blobs
        self._sharing = sharing
        self.objects: ShownObjects | None = None
        """The S3 front's, once it serves."""

    async def get(self, request: Request, name: str) -> Response:
        """202 when it is fetched here and nothing has come yet: so a slow store is not taken for a dead peer. Raises
        NotFound, MalformedDigest, and what became of the fetch."""
        try:
            async with asyncio.timeout(_ANSWER_WITHIN_S):
                return await self._get(request, name)
        except TimeoutError:
            return Response(202)

    async def _get(self, request: Request, name: str) -> Response:
        given = request.header(_ASKER)
        asker = Asker.GATEWAY
        if given is not None:
            if given not in _ASKERS:
                raise NotFound("this gateway knows no such asker: it is of another version")
            asker = _ASKERS[given]
        try:
            return await self._own(name, asker)
        except NotFound:
            if asker is not Asker.GATEWAY:
                raise
        reader = await self._sharing.forwarded(name)
        return Response(200, _fields(reader.info, name), StreamBody(_PassedOn(reader), reader.length))

    async def _own(self, name: str, asker: Asker) -> Response:
        kind, _, which = name.partition("/")
        if kind == "blobs":
            blob = await self._blobs.open_shown(parse_guid(which), asker)
            fields = blob_fields(blob.content, blob.content_type, public=False)
            return Response(200, fields, body_of(blob, ByteRange(0, blob.content.size - 1)))
        if kind != "objects" or self.objects is None:
            raise NotFound("only blobs and objects are fetched")
        info, reply = await self.objects.open_shown(name, asker)
        return Response(200, _fields(info, name), StreamBody(ReplyChunks(reply), info.size))


def _fields(info: ObjectInfo, name: str) -> Fields:
    if name.startswith("blobs/") and info.content is not None:
        return blob_fields(info.content, info.content_type, public=False)
    return ((_OBJECT, object_note(info).encode()),)


class _PassedOn:
    """The bytes of an open object, which is closed when the engine closes the iterator, also if it was never begun."""

    def __init__(self, reader: ObjectReader) -> None:
        self._reader = reader
        self._chunks = aiter(reader)

    def __aiter__(self) -> _PassedOn:
        return self

    async def __anext__(self) -> bytes:
        return await anext(self._chunks)

    async def aclose(self) -> None:
        await self._reader.aclose()
