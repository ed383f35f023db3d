"""The probe that decides whether this node's endpoint is published (I7): what it takes for healthy, and what not."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from controlplane.adapters.endpoint_probe import EndpointProbe
from controlplane.ports.errors import Corrupt, Unavailable
from tests.integration.gateway.serving import PROBE, READER, Served
from tests.support.ports import free_port

Answer = Callable[[str, asyncio.StreamWriter], Awaitable[None]]


async def test_a_gateway_that_stores_and_returns_what_was_sent_is_healthy(gateway: Served) -> None:
    probe = EndpointProbe(f"http://127.0.0.1:{gateway.port}/", "node1", PROBE, timeout_s=5.0)
    await probe()
    await probe()
    assert (await gateway.ask("GET", "/probes/node1", token=PROBE)).status == 404  # nothing is left


async def test_one_that_refuses_the_token_is_not(gateway: Served) -> None:
    probe = EndpointProbe(f"http://127.0.0.1:{gateway.port}", "node1", READER, timeout_s=5.0)
    with pytest.raises(Unavailable, match=r"probe PUT http://127\.0\.0\.1:\d+/probes/node1: status 403"):
        await probe()


async def test_one_that_does_not_listen_is_not() -> None:
    probe = EndpointProbe(f"http://127.0.0.1:{free_port()}", "node1", PROBE, timeout_s=5.0)
    with pytest.raises(Unavailable, match="probe PUT"):
        await probe()


async def test_one_that_returns_other_bytes_is_damaged() -> None:
    async def answer(method: str, writer: asyncio.StreamWriter) -> None:
        body = b"0123456789abcdef0123456789abcdef" if method == "GET" else b""
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))

    async with _serving(answer) as url:
        with pytest.raises(Corrupt, match="read back b'0123456789abcdef"):
            await EndpointProbe(url, "node1", PROBE, timeout_s=5.0)()


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n"])
async def test_one_that_hangs_fails_within_the_timeout(sent: bytes) -> None:
    """It trickles, so that no pause is ever as long as the timeout."""

    async def answer(_method: str, writer: asyncio.StreamWriter) -> None:
        writer.write(sent)
        while True:
            await asyncio.sleep(0.05)
            if sent:
                writer.write(b"x")

    async with _serving(answer) as url:
        began = time.monotonic()
        with pytest.raises(Unavailable, match=r"probe PUT .* within 0\.3 s|sent nothing for 0\.3 s"):
            await EndpointProbe(url, "node1", PROBE, timeout_s=0.3)()
        assert time.monotonic() - began < 30  # for ever, if it counted pauses


async def test_one_that_breaks_off_or_speaks_no_http_is_not_healthy() -> None:
    async def answer(_method: str, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")

    async with _serving(answer) as url:
        with pytest.raises(Unavailable, match="probe PUT"):
            await EndpointProbe(url, "node1", PROBE, timeout_s=5.0)()


async def test_over_tls_only_the_certificate_that_was_given_is_trusted(tmp_path: Path) -> None:
    async def answer(_method: str, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n")

    for name in ("own", "other"):
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days",
             "2", "-subj", f"/CN={name}", "-keyout", tmp_path / f"{name}.key", "-out", tmp_path / f"{name}.crt"],
            check=True, capture_output=True,
        )  # fmt: skip
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "own.crt", tmp_path / "own.key")
    async with _serving(answer, context) as url:
        for trusted, said in (("own", "status 503"), ("other", "SSLCertVerificationError")):
            tls = ssl.create_default_context(cafile=str(tmp_path / f"{trusted}.crt"))
            tls.check_hostname = False
            with pytest.raises(Unavailable, match=said):
                await EndpointProbe(url, "node1", PROBE, timeout_s=5.0, tls=tls)()


@asynccontextmanager
async def _serving(answer: Answer, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """A server that answers every request as told, and its URL."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            if head.startswith(b"PUT"):
                await reader.readexactly(1024)
            await answer(head.split()[0].decode(), writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the probe has seen enough
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{port}"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
