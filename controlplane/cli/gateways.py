"""Which gateways a command talks to, and with which token."""

from __future__ import annotations

import os
import random
import stat
from argparse import Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING

from controlplane.cli import settings_source
from controlplane.cli.blob_client import BlobClient
from controlplane.cli.blob_transport import HttpConnection, check_url, tls_context
from controlplane.cli.exit_codes import UsageError
from controlplane.ports.errors import Unavailable

if TYPE_CHECKING:
    from controlplane.model.endpoints import EndpointSet
    from controlplane.settings.tree import Settings

SERVICE = "blobs"
_MOST_TOKEN_BYTES = 64 * 1024


def open_client(arguments: Namespace) -> BlobClient:
    """The client that the command line, the environment and the settings ask for. No connection is made yet."""
    urls = [check_url(url) for url in _urls(arguments)]
    ca_file = arguments.ca_file or os.environ.get("MILLRACE_CA_FILE") or None
    tls = tls_context(ca_file) if any(url.startswith("https:") for url in urls) else None
    return BlobClient(
        urls,
        lambda url: HttpConnection(url, tls=tls, silence_s=arguments.timeout),
        token=_token(arguments.token_file),
        wait_s=arguments.wait,
    )


def _urls(arguments: Namespace) -> Sequence[str]:
    if arguments.url:
        return list(arguments.url)
    if named := os.environ.get("MILLRACE_URL", "").split():
        return named
    if settings_source.settings_file(arguments.config, os.environ) is None:
        raise UsageError("no gateway is named: give --url or MILLRACE_URL, or a settings file with --config")
    settings = settings_source.load(arguments.config)
    if not settings.directory.etcd.endpoints:
        return [own_url(settings)]
    found = [endpoint.url for endpoint in look_up(settings, SERVICE).endpoints]
    if not found:
        raise Unavailable("the directory has no endpoint of blobs: no gateway is healthy, or none is published yet")
    random.shuffle(found)
    return found


def look_up(settings: Settings, service: str) -> EndpointSet:
    """The endpoints of `service` now. Raises Unavailable."""
    import asyncio

    from controlplane.adapters.system_clock import SystemClock
    from controlplane.wiring.adapters import build_directory

    async def ask() -> EndpointSet:
        directory = build_directory(settings, SystemClock())
        try:
            return await directory.endpoints(service)
        finally:
            await directory.aclose()

    return asyncio.run(ask())


def own_url(settings: Settings) -> str:
    """Where the gateway of these settings is reached, from this machine."""
    gateway = settings.gateway
    if settings.node.public_url:
        return settings.node.public_url
    # An address that means every interface is bound to, not connected to.
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(gateway.host, gateway.host)  # noqa: S104 - compared, not bound
    scheme = "https" if gateway.tls.cert_file else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{gateway.port}"


def _token(file: str | None) -> str | None:
    """From --token-file, MILLRACE_TOKEN, MILLRACE_TOKEN_FILE; never from the command line, where anyone may read it."""
    token = None
    if file is None:
        token = os.environ.get("MILLRACE_TOKEN")
        file = os.environ.get("MILLRACE_TOKEN_FILE")
    if not token and file:
        token = _read_token(file)
    if not token:
        return None
    if not token.isascii() or not token.isprintable():
        raise UsageError("the token holds characters that no token has: is it the right file or variable?")
    return token


def _read_token(path: str) -> str:
    try:
        with open(path, "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise UsageError(f"token file {path} is not a regular file")
            return file.read(_MOST_TOKEN_BYTES).decode("latin-1").strip()
    except OSError as error:
        raise UsageError(f"token file {path}: {error.strerror}") from error
