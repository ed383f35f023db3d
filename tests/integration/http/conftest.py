"""The engine over loopback, on uvloop and on plain asyncio."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import os
import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import uvloop

from controlplane.http import FileBody, HttpServer, Limits


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}


class Blob:
    """An open file that counts its leases."""

    def __init__(self, path: Path, size: int) -> None:
        self.content = os.urandom(min(size, 1024 * 1024)) * max(1, size // (1024 * 1024))
        path.write_bytes(self.content)
        self.path = path
        self.fd = os.open(path, os.O_RDONLY)
        self.lent = self.released = 0

    def body(self, offset: int = 0, length: int | None = None) -> FileBody:
        self.lent += 1
        return FileBody(self.fd, offset, len(self.content) - offset if length is None else length, self._release)

    def _release(self) -> None:
        self.released += 1


@pytest.fixture
def blob(tmp_path: Path) -> Iterator[Callable[[int], Blob]]:
    made: list[Blob] = []

    def make(size: int) -> Blob:
        made.append(Blob(tmp_path / f"blob{len(made)}", size))
        return made[-1]

    yield make
    for one in made:
        os.close(one.fd)


Serve = Callable[..., Any]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Start a server: `await serve(handler, limits, ...)` gives (server, port)."""
    servers: list[HttpServer] = []

    async def start(handler: Any, limits: Limits | None = None, **options: Any) -> tuple[HttpServer, int]:
        server = HttpServer(handler, limits, **options)
        servers.append(server)
        _, port = await server.start("127.0.0.1", 0)
        return server, port

    yield start
    for server in servers:
        await server.stop(0)
        assert server.connections == 0


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """(server's, client's) contexts of a certificate made for this run."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = tmp_path_factory.mktemp("tls") / "server.pem"
    pem.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + made.public_bytes(serialization.Encoding.PEM)
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pem)
    client = ssl.create_default_context(cafile=str(pem))
    return server, client
