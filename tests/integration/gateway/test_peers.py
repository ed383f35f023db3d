"""How gateways and workers ask each other for what they fetch: who is slow is waited for, who is silent is not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import cast

import pytest

from controlplane.adapters import http_peers
from controlplane.adapters.http_peers import HttpPeers
from controlplane.adapters.system_clock import SystemClock
from controlplane.gateway import peer_api
from controlplane.gateway.peer_api import PeerApi
from controlplane.http import HttpServer, Request, Response, StreamBody
from controlplane.model.keys import Key
from controlplane.ports.errors import NotFound, Unavailable
from controlplane.ports.object_store import ByteRange, ObjectInfo
from controlplane.ports.peers import OBJECT, Asker, object_note
from controlplane.services.fetch_sharing import FetchSharing
from controlplane.services.object_replies import Streamed
from controlplane.services.reading import BlobReader

NAME = "objects/" + "0" * 64
PIECE = b"x" * 262_144
INFO = ObjectInfo(Key("key"), 3 * len(PIECE), "etag", 0.0)


async def pieces(part: ByteRange) -> AsyncIterator[bytes]:
    for _ in range(part.length // len(PIECE)):
        yield PIECE


class Fetching:
    """Implements gateway.peer_api.ShownObjects: its first bytes come after `opens`."""

    def __init__(self) -> None:
        self.opens = asyncio.Event()
        self.asked = 0

    async def open_shown(self, name: str, asker: Asker) -> tuple[ObjectInfo, Streamed]:
        self.asked += 1
        if name != NAME:
            raise NotFound(f"{name} is not being fetched here")
        await self.opens.wait()
        return INFO, Streamed(200, {}, pieces(ByteRange(0, INFO.size - 1)), INFO.size, lambda: None)


async def serve(handle: Callable[[Request], object]) -> tuple[HttpServer, str]:
    async def guarded(request: Request) -> Response:
        try:
            return cast(Response, await handle(request))  # type: ignore[misc]
        except NotFound:
            return Response(404)

    server = HttpServer(guarded)
    _, port = await server.start("127.0.0.1", 0)
    return server, f"http://127.0.0.1:{port}"


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_peers, "_SILENT_S", 1.0)
    monkeypatch.setattr(peer_api, "_ANSWER_WITHIN_S", 0.2)


async def test_a_peer_whose_store_is_slow_is_waited_for() -> None:
    fetching = Fetching()
    api = PeerApi(cast(BlobReader, None), FetchSharing(SystemClock()))
    api.objects = fetching
    server, url = await serve(lambda request: api.get(request, NAME))
    peers = HttpPeers("secret")
    opening = asyncio.create_task(peers.open(url, NAME, Asker.WORKER))
    async with asyncio.timeout(60):
        while fetching.asked < 8:  # each is waited for 0.2 s: it is silent for longer than _SILENT_S
            await asyncio.sleep(0.05)
    assert not opening.done(), "it would be taken for dead"
    fetching.opens.set()
    reader = await opening
    assert reader.info == INFO
    assert sum([len(chunk) async for chunk in reader]) == INFO.size
    await reader.aclose()
    await peers.aclose()
    await server.stop(1)


async def test_a_peer_that_says_nothing_is_given_up() -> None:
    async def silent(request: Request) -> Response:
        await asyncio.sleep(30)
        return Response(200)

    server, url = await serve(silent)
    peers = HttpPeers("secret")
    with pytest.raises(Unavailable, match="Timeout"):
        await peers.open(url, NAME, Asker.GATEWAY)
    await peers.aclose()
    await server.stop(0)


async def test_a_peer_lives_however_long_it_was_not_asked() -> None:
    """A body read slowly to its end, and a pause of more than the time-out before the next."""
    fields = [(OBJECT.encode(), object_note(INFO).encode())]

    async def at_once(request: Request) -> Response:
        return Response(200, fields, StreamBody(pieces(ByteRange(0, INFO.size - 1)), INFO.size))

    server, url = await serve(at_once)
    peers = HttpPeers("secret")
    for _ in range(3):
        reader = await peers.open(url, NAME, Asker.GATEWAY)
        async for _chunk in reader:
            await asyncio.sleep(0.1)
        await reader.aclose()
        await asyncio.sleep(1.2)
    await peers.aclose()
    await server.stop(1)
