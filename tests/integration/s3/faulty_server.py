"""A small S3 server on a real socket that misbehaves on demand: a fault is used once, by the next request that fits."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from hashlib import md5
from urllib.parse import parse_qsl, unquote, urlsplit


@dataclass
class Seen:
    """One request as it came in."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    connection: int


@dataclass
class Fault:
    """What goes wrong with one request. Without any field set, nothing does."""

    method: str = ""
    """Only this method; empty: any."""
    query: str = ""
    """Only with this query parameter."""
    skip: int = 0
    """So many fitting requests pass unharmed first."""
    reset: str = ""
    """`on head`: before the body is read; `before`: before it is carried out; `after`: carried out, not answered."""
    status: int = 0
    """Answer this instead of carrying it out."""
    headers: dict[str, str] = field(default_factory=dict)
    """Added to the answer, replacing its own."""
    body: bytes | None = None
    """Sent in place of the answer's body."""
    raw: bytes | None = None
    """Sent in place of the whole answer; the connection is closed then."""
    cut_at: int | None = None
    """The connection is closed after so many bytes of the body."""
    stall: str = ""
    """`head`: nothing is ever answered; `body`: half of the body, then silence."""
    early: bool = False
    """Answer before the request's body is read."""


def error(code: str, message: str = "it is said to be so") -> bytes:
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()


class FaultyS3:
    def __init__(self) -> None:
        self.objects: dict[str, tuple[bytes, dict[str, str]]] = {}
        self.uploads: dict[str, dict[int, bytes]] = {}
        self.upload_headers: dict[str, dict[str, str]] = {}
        self.faults: list[Fault] = []
        self.seen: list[Seen] = []
        self.url = ""
        self.connections = 0
        self.open_now = 0
        self.most_open = 0
        self.bodies_begun = 0
        self.aborted: list[str] = []
        self.forget_parts = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def start(self, port: int = 0) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        if self._server is None:
            return
        self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        self._server = None
        await asyncio.sleep(0.01)

    def close_idle_connections(self) -> None:
        for writer in list(self._writers):
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open_now += 1
        self.most_open = max(self.most_open, self.open_now)
        self._writers.add(writer)
        number = self.connections
        try:
            while await self._one(reader, writer, number):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.open_now -= 1
            self._writers.discard(writer)
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        method, target, _ = head[0].split(" ")
        headers = {line.split(": ", 1)[0].lower(): line.split(": ", 1)[1] for line in head[1:] if line}
        split = urlsplit(target)
        query = dict(parse_qsl(split.query, keep_blank_values=True))
        seen = Seen(method, unquote(split.path), query, headers, b"", number)
        fault = self._fault_for(seen)
        self.bodies_begun += 1
        if fault.reset == "on head":
            self.seen.append(seen)
            return self._reset(writer)
        if not fault.early:
            seen.body = await reader.readexactly(int(headers.get("content-length", 0)))
        self.seen.append(seen)
        if fault.stall == "head":
            await asyncio.sleep(3600)
        if fault.raw is not None:
            writer.write(fault.raw)
            await writer.drain()
            return False
        if fault.reset == "before":
            return self._reset(writer)
        status, answer_headers, body = (fault.status, {}, b"") if fault.status else self._carry_out(seen)
        if fault.reset == "after":
            return self._reset(writer)
        if fault.body is not None:
            body = fault.body
        answer_headers = {"Content-Length": str(len(body)), **answer_headers, **fault.headers}
        lines = "".join(f"{name}: {value}\r\n" for name, value in answer_headers.items() if value)
        writer.write(f"HTTP/1.1 {status} X\r\n{lines}\r\n".encode())
        if method == "HEAD":
            return True
        if fault.cut_at is not None or fault.stall == "body":
            writer.write(body[: len(body) // 2 if fault.cut_at is None else fault.cut_at])
            await writer.drain()
            if fault.stall:
                await asyncio.sleep(3600)
            return False
        writer.write(body)
        await writer.drain()
        return not fault.early

    def _fault_for(self, seen: Seen) -> Fault:
        for fault in self.faults:
            if fault.method in ("", seen.method) and (not fault.query or fault.query in seen.query):
                if fault.skip:
                    fault.skip -= 1
                    return Fault()
                self.faults.remove(fault)
                return fault
        return Fault()

    def _reset(self, writer: asyncio.StreamWriter) -> bool:
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
        return False

    def _carry_out(self, seen: Seen) -> tuple[int, dict[str, str], bytes]:
        key = seen.path.split("/", 2)[2] if seen.path.count("/") > 1 else ""
        if not key:
            return 200, {}, b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"
        if "uploads" in seen.query:
            upload = f"upload-{len(self.uploads) + 1}"
            self.uploads[upload], self.upload_headers[upload] = {}, seen.headers
            document = f"<InitiateMultipartUploadResult><UploadId>{upload}</UploadId></InitiateMultipartUploadResult>"
            return 200, {}, document.encode()
        if "uploadId" in seen.query:
            return self._multipart(seen, key, seen.query["uploadId"])
        if seen.method == "PUT":
            if seen.headers.get("if-none-match") == "*" and key in self.objects:
                return 412, {}, error("PreconditionFailed")
            self.objects[key] = (seen.body, seen.headers)
            return 200, {"ETag": f'"{md5(seen.body).hexdigest()}"'}, b""
        if seen.method == "DELETE":
            self.objects.pop(key, None)
            return 204, {"Content-Length": ""}, b""
        return self._read(seen, key)

    def _read(self, seen: Seen, key: str) -> tuple[int, dict[str, str], bytes]:
        if key not in self.objects:
            return 404, {}, error("NoSuchKey")
        data, kept = self.objects[key]
        meta = {name: value for name, value in kept.items() if name.startswith("x-amz-meta-") or name == "content-type"}
        etag = kept.get("etag", md5(data).hexdigest())
        answer = {"ETag": f'"{etag}"', "Last-Modified": "Sun, 22 Nov 2026 21:51:49 GMT", **meta}
        if seen.method == "HEAD":
            return 200, {**answer, "Content-Length": str(len(data))}, b""
        if "range" in seen.headers:
            first, last = (int(part) for part in seen.headers["range"].removeprefix("bytes=").split("-"))
            if first >= len(data):
                return 416, {}, error("InvalidRange")
            last = min(last, len(data) - 1)
            answer["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
            return 206, answer, data[first : last + 1]
        return 200, answer, data

    def _multipart(self, seen: Seen, key: str, upload: str) -> tuple[int, dict[str, str], bytes]:
        if upload not in self.uploads:
            return 404, {}, error("NoSuchUpload")
        if seen.method == "PUT":
            self.uploads[upload][int(seen.query["partNumber"])] = b"" if self.forget_parts else seen.body
            if self.forget_parts:
                seen.body, etag = b"", md5(seen.body).hexdigest()
                return 200, {"ETag": etag}, b""
            return 200, {"ETag": f'"{md5(seen.body).hexdigest()}"'}, b""
        parts = self.uploads.pop(upload)
        if seen.method == "DELETE":
            self.aborted.append(upload)
            return 204, {"Content-Length": ""}, b""
        data = [parts[number] for number in sorted(parts)]
        etag = md5(b"".join(md5(part).digest() for part in data)).hexdigest() + f"-{len(data)}"
        self.objects[key] = (b"".join(data), {**self.upload_headers[upload], "etag": etag})
        return (
            200,
            {},
            f"<CompleteMultipartUploadResult><ETag>&quot;{etag}&quot;</ETag></CompleteMultipartUploadResult>".encode(),
        )


@contextlib.asynccontextmanager
async def faulty_s3() -> AsyncIterator[FaultyS3]:
    server = FaultyS3()
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
