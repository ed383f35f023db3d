"""A fast S3 look-alike for benchmarks, in a process of its own: PUT takes any body, GET gives bytes of one pattern.

Run: python s3_sink.py PORT. GET /bucket/<size>/<anything>; PUT answers with the right ETag only for that pattern.
"""

from __future__ import annotations

import asyncio
import sys
from hashlib import md5
from typing import cast

import httptools
import uvloop

PATTERN = b"0123456789abcdef" * 4096
_etags: dict[int, str] = {}


def body_of(size: int) -> bytes:
    return (PATTERN * (size // len(PATTERN) + 1))[:size]


def etag_of(size: int) -> str:
    if size not in _etags:
        _etags[size] = md5(body_of(size)).hexdigest()
    return _etags[size]


class Sink(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is none by its class
        self.parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_message_begin(self) -> None:
        self.size = 0
        self.url = b""

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"expect":
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self.size += len(body)

    def on_message_complete(self) -> None:
        method = self.parser.get_method()
        if method == b"PUT":
            head = f'HTTP/1.1 200 OK\r\nETag: "{etag_of(self.size)}"\r\nContent-Length: 0\r\n\r\n'
            self.transport.write(head.encode())
            return
        size = int(self.url.split(b"/")[2])
        head = (
            f'HTTP/1.1 200 OK\r\nETag: "{etag_of(size)}"\r\nContent-Type: application/octet-stream\r\n'
            "Last-Modified: Sun, 22 Nov 2026 21:51:49 GMT\r\nAccept-Ranges: bytes\r\n"
            "Date: Sun, 22 Nov 2026 21:51:49 GMT\r\n"
            f"x-amz-request-id: 1\r\nContent-Length: {size}\r\n\r\n"
        )
        self.transport.write(head.encode() + (b"" if method == b"HEAD" else body_of(size)))


async def main(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Sink, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
