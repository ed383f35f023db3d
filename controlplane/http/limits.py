"""What one client may cost the server."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes in bytes, times in seconds."""

    max_header_bytes: int = 32 * 1024  # request line and header fields together
    max_headers: int = 100
    max_body_bytes: int = 50 * 1024**3
    header_timeout_s: float = 10.0  # from the first byte of a head to its end; also the TLS handshake
    body_timeout_s: float = 30.0  # the longest pause of a client that sends or reads a body
    idle_timeout_s: float = 75.0  # between requests
    min_body_rate: int = 1024  # bytes a second, averaged over a request body, after a grace of body_timeout_s; 0: none
    max_connections: int = 10_000  # further ones wait in the kernel's queue
    max_pipelined: int = 16  # requests of one connection that are answered in one turn of the event loop
