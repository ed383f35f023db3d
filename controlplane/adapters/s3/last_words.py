"""What had come over a connection before it broke, and nobody has read."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Final

_MOST: Final = 64 * 1024


def last_words(transport: asyncio.BaseTransport | None) -> bytes:
    """b"" when there is nothing, or nothing to be read as it is (TLS).

    Who refuses a request whose body is on its way answers and resets (Riak CS: conn-refused-put-with-body): writing
    fails then although the answer is here. Linux keeps what came before a reset for who asks; asyncio closes.
    """
    if transport is None or transport.get_extra_info("sslcontext") is not None:
        return b""
    try:
        # A descriptor of its own: that of the transport is the event loop's.
        with socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno())) as copy:
            return copy.recv(_MOST, socket.MSG_DONTWAIT)
    except (OSError, AttributeError):
        return b""
