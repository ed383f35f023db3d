"""How a client can fail a request. A handler may catch these; those it lets pass become the answer named here."""

from __future__ import annotations


class ClientFault(Exception):
    """The request cannot be finished because of its client."""

    status = 400


class ClientGone(ClientFault):
    """The client disconnected before its request was whole: nobody reads an answer."""

    status = 499


class ClientTooSlow(ClientFault):
    """The client paused its body for too long, or sent it below the least rate."""

    status = 408


class BodyTooLarge(ClientFault):
    """A chunked body passed max_body_bytes. (A too large Content-Length is refused before the handler is called.)"""

    status = 413


class BodyMalformed(ClientFault):
    """The chunked framing of the body is broken."""


class HeadRefused(ClientFault):
    """The head of a request is not acceptable; its handler was not called."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
