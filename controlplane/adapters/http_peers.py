"""What another gateway of the cluster, or another worker of this one, is fetching: GET <url>/peers/<name>, with the
secret that they share."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp

from controlplane.model.content import Content, MalformedDigest, parse_guid, parse_sha256
from controlplane.model.keys import blob_key
from controlplane.ports.errors import NotFound, Rejected, Unavailable
from controlplane.ports.object_store import ObjectInfo, ObjectReader
from controlplane.ports.peers import ASKER, OBJECT, Asker, noted_object

_CONNECT_S = 1.0
_SILENT_S = 10.0
"""A provider that says nothing for so long is taken for dead."""
_NOT_YET = 202
_NOTE_BYTES = 64 * 1024
_FAULTS = (aiohttp.ClientError, TimeoutError, OSError)


class HttpPeers:
    """Implements ports.peers.Peers."""

    def __init__(self, secret: str, ca_file: Path | None = None) -> None:
        self._secret = secret
        self._ca_file = ca_file
        self._session: aiohttp.ClientSession | None = None

    async def open(self, url: str, name: str, asker: Asker) -> ObjectReader:
        where = f"{url.rstrip('/')}/peers/{name}"
        headers = {"authorization": f"Bearer {self._secret}"}
        if asker is not Asker.GATEWAY:
            headers[ASKER] = asker.value
        try:
            while (answer := await self._opened().get(where, headers=headers)).status == _NOT_YET:
                answer.release()  # it waits for its store, and lives
        except _FAULTS as error:
            raise Unavailable(f"peer {url}: {type(error).__name__}: {error}") from error
        try:
            if answer.status == 404:
                raise NotFound(f"peer {url} does not fetch {name}")
            if answer.status in (401, 403):
                raise Rejected(f"peer {url} does not know this gateway: is cluster.secret the same on all nodes?")
            if answer.status != 200:
                raise Unavailable(f"peer {url}: status {answer.status}")
            return _Reader(where, answer, _info(name, answer))
        except BaseException:
            answer.close()
            raise

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            context: ssl.SSLContext | bool = True
            if self._ca_file is not None:
                context = ssl.create_default_context(cafile=str(self._ca_file))
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S, sock_read=_SILENT_S)
            # A connection for each fetch: in aiohttp a reused one may have timed out while it was idle, and a peer that
            # lives would look dead (sock_read is begun anew when reading resumes behind the end of a body).
            connector = aiohttp.TCPConnector(ssl=context, limit=0, force_close=True)
            self._session = aiohttp.ClientSession(timeout=timeout, connector=connector, max_field_size=_NOTE_BYTES)
        return self._session


class _Reader:
    file: tuple[int, int] | None = None

    def __init__(self, where: str, answer: aiohttp.ClientResponse, info: ObjectInfo) -> None:
        self._where = where
        self._answer = answer
        self.info = info
        self.length = info.size

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = self.length
        try:
            async for chunk in self._answer.content.iter_any():
                left -= len(chunk)
                if left < 0:
                    break
                yield chunk
        except _FAULTS as error:
            raise Unavailable(f"{self._where} broke off: {type(error).__name__}: {error}") from error
        if left:
            raise Unavailable(f"{self._where}: the body is not {self.length} bytes long")

    async def aclose(self) -> None:
        self._answer.close()


def _info(name: str, answer: aiohttp.ClientResponse) -> ObjectInfo:
    """Raises Unavailable when the answer does not say what it is."""
    try:
        if (note := answer.headers.get(OBJECT)) is not None:
            return noted_object(note)
        md5 = parse_guid(answer.headers["etag"].strip('"'))
        size = int(answer.headers["content-length"])
        content = Content(md5, parse_sha256(answer.headers["millrace-sha256"]), size)
        key = blob_key(parse_guid(name.removeprefix("blobs/")))
    except (KeyError, ValueError, TypeError, MalformedDigest) as error:
        raise Unavailable(f"peer {answer.url} answers like no gateway of this version: {error}") from error
    kind = answer.headers.get("content-type", "application/octet-stream")
    return ObjectInfo(key, size, md5, 0.0, kind, content)
