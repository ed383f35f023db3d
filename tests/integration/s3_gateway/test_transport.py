"""What the S3 port of a real gateway takes of TLS, and how long it waits for a head that trickles."""

from __future__ import annotations

import socket
import ssl
import time
import warnings
from urllib.parse import urlsplit

import pytest

from tests.support.s3_gateway import S3Gateway


def place_of(gateway: S3Gateway) -> tuple[str, int]:
    parts = urlsplit(gateway.url)
    assert parts.hostname is not None
    assert parts.port is not None
    return parts.hostname, parts.port


def spoken(gateway: S3Gateway, version: ssl.TLSVersion) -> str | None:
    """What a client gets that speaks this version and no other."""
    context = ssl.create_default_context(cafile=gateway.ca_file)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.set_ciphers("DEFAULT:@SECLEVEL=0")  # or the client itself would not offer the old ones
        context.minimum_version = version
        context.maximum_version = version
    host, port = place_of(gateway)
    with socket.create_connection((host, port), 20) as raw, context.wrap_socket(raw, server_hostname=host) as sock:
        return sock.version()


@pytest.mark.parametrize(
    ("version", "name"), [(ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")]
)
def test_todays_tls_is_spoken(version: ssl.TLSVersion, name: str, tls_gateway: S3Gateway) -> None:
    assert spoken(tls_gateway, version) == name


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_older_tls_is_refused(version: ssl.TLSVersion, tls_gateway: S3Gateway) -> None:
    with pytest.raises(ssl.SSLError, match=r"(?i)protocol|EOF"):  # an alert, or an end without one (Python 3.11.2)
        spoken(tls_gateway, version)


def test_a_head_that_trickles_is_cut_off(gateway: S3Gateway) -> None:
    """After gateway.header_timeout_s (10 s), however often a byte comes."""
    began = time.monotonic()
    got = b""
    with socket.create_connection(place_of(gateway), 20) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
        sock.settimeout(0.5)
        while not got and time.monotonic() - began < 40:
            try:
                got = sock.recv(65536)
            except TimeoutError:
                sock.sendall(b"X: y\r\n")
    assert got.startswith(b"HTTP/1.1 408 "), got
    assert time.monotonic() - began > 5
