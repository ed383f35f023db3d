"""A gateway with its admin port on loopback, and a client that shows every byte."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

from controlplane.adapters.filesystem import FilesystemStore
from controlplane.gateway.auth import Authorizer, Grant, Right
from controlplane.gateway.blob_api import BlobApi
from controlplane.gateway.peer_api import PeerApi
from controlplane.gateway.probe_api import ProbeApi
from controlplane.http import HttpServer, Limits
from controlplane.model.tally import RequestTally
from controlplane.ports.errors import NotFound
from controlplane.ports.object_store import Key
from controlplane.status.admin_api import AdminApi, Check
from controlplane.status.sources import Sources
from tests.support.fakes import Node

ALL, READER, WRITER, PROBE = "t-all", "t-reader", "t-writer", "t-probe"

GRANTS = (
    Grant.of("all", ALL, frozenset({Right.READ, Right.WRITE, Right.DELETE})),
    Grant.of("reader", READER, frozenset({Right.READ})),
    Grant.of("writer", WRITER, frozenset({Right.WRITE})),
    Grant.of("probe", PROBE, frozenset({Right.PROBE})),
)


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def kind(self) -> str:
        """Of a problem; checks that it is a whole one."""
        assert self.headers["content-type"] == "application/problem+json", self
        problem = self.json()
        assert problem["status"] == self.status
        assert problem["title"]
        assert problem["detail"]
        assert problem["instance"] == f"urn:millrace:request:{self.headers['x-request-id']}"
        return str(problem["type"]).removeprefix("urn:millrace:problem:")


class CutOff(Exception):
    """The connection ended before the answer was whole."""

    def __init__(self, got: bytes, status: int) -> None:
        super().__init__(f"{status}, then {len(got)} bytes")
        self.got = got
        self.status = status


async def exchange(port: int, request: bytes, *, timeout_s: float = 10.0, head: bool = False) -> Answer:
    """Send these bytes, and read one answer. Raises CutOff when it breaks off."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        async with asyncio.timeout(timeout_s):
            return await read_answer(reader, head=head)
    finally:
        writer.transport.abort()


async def read_answer(reader: asyncio.StreamReader, *, head: bool = False) -> Answer:
    try:
        raw = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError) as error:
        raise CutOff(getattr(error, "partial", b""), 0) from error
    line, *fields = raw.decode("latin-1").rstrip("\r\n").split("\r\n")
    headers = {name.strip().lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
    status = int(line.split()[1])
    length = 0 if head or status in (204, 304) else int(headers.get("content-length", "0"))
    try:
        body = await reader.readexactly(length)
    except asyncio.IncompleteReadError as error:
        raise CutOff(error.partial, status) from error
    return Answer(status, headers, body)


class Served:
    def __init__(self, node: Node, files: FilesystemStore | None) -> None:
        self.node = node
        self.files = files
        self.requests = RequestTally()

    async def start(
        self, limits: Limits | None, *, anonymous_read: bool = False, max_blob_bytes: int = 64 << 20
    ) -> None:
        node = self.node
        self.api = BlobApi(
            writer=node.writer,
            reader=node.reader,
            probes=ProbeApi(node.near),
            peers=PeerApi(node.reader, node.sharing),
            authorizer=Authorizer(GRANTS, anonymous_read=anonymous_read),
            max_blob_bytes=max_blob_bytes,
            public=anonymous_read,
            tally=self.requests,
            log_access=True,
        )
        api = self.api
        self.server = HttpServer(
            api,
            limits or Limits(max_body_bytes=max_blob_bytes),
            refuse=api.refuse,
            on_fault=api.on_fault,
            observe=api.observe,
        )
        _, self.port = await self.server.start("127.0.0.1", 0)
        checks = {
            "primary": Check(node.near.check, needed=True),
            "journal": Check(node.journal.stats, needed=True),
            "persistent": Check(node.persistent.check, needed=False),
        }
        sources = Sources(
            requests=self.requests, blobs=node.tally, mirror=node.mirror_tally, hot=node.hot, labels={"node": "n1"}
        )
        self.admin = HttpServer(AdminApi(checks, sources, node.journal, node.clock), Limits(max_body_bytes=0))
        _, self.admin_port = await self.admin.start("127.0.0.1", 0)

    async def stop(self) -> None:
        await self.server.stop(2.0)
        await self.admin.stop(1.0)
        await self.node.filler.aclose()
        await self.node.mirror.aclose()
        self.node.spool.close()
        if self.files is not None:
            await self.files.aclose()

    async def ask(
        self, method: str, path: str, body: bytes | None = None, *, token: str | None = ALL, **headers: str
    ) -> Answer:
        """One request; keyword arguments are header fields, with underscores for dashes."""
        lines = [f"{method} {path} HTTP/1.1", "Host: test", "Connection: close"]
        if token is not None:
            lines.append(f"Authorization: Bearer {token}")
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        request = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + (body or b"")
        return await exchange(self.port, request, head=method == "HEAD")

    async def look(self, path: str) -> Answer:
        """GET on the admin port."""
        return await exchange(self.admin_port, f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())

    async def names(self) -> list[str]:
        """All keys in the primary."""
        return [str(info.key) for info in (await self.node.near.list()).objects]

    async def in_primary(self, key: str) -> bool:
        try:
            await self.node.near.head(Key(key))
        except NotFound:
            return False
        return True

    async def drain(self) -> None:
        await self.node.drain(self.node.new_mirror())

    async def nothing_left(self) -> bool:
        """Nothing in the spool, the primary and the journal, soon."""
        for _ in range(200):
            if not self.node.spool_files() and not await self.names() and not self.node.journal.history:
                return True
            await asyncio.sleep(0.01)
        return False
