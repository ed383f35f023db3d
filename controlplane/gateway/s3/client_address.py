"""Where a request comes from, when proxies of ours stand in between: aws:SourceIp and aws:SecureTransport.

X-Forwarded-For and X-Forwarded-Proto are believed only from the proxies that the settings name: anybody can send them.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final

from controlplane.http import Request

_FOR: Final = b"x-forwarded-for"
_PROTO: Final = b"x-forwarded-proto"


class Proxies:
    """`networks`: addresses of proxies, such as 10.0.0.0/8. Raises ValueError for what is none. `tls`: our own port."""

    def __init__(self, networks: Iterable[str], *, tls: bool) -> None:
        self._networks: tuple[IPv4Network | IPv6Network, ...] = tuple(ip_network(text) for text in networks)
        self._tls = tls

    def address(self, request: Request) -> str:
        """The client's: the last address in X-Forwarded-For that is no proxy of ours."""
        address = request.peer.rpartition(":")[0].strip("[]")
        if not self._trusted(address):
            return address
        given = b",".join(value for name, value in request.headers if name == _FOR)
        for part in reversed(given.decode("latin-1").split(",")):
            hop = part.strip().strip("[]")
            try:
                ip_address(hop)
            except ValueError:
                break  # whoever wrote this is the last that can be believed
            address = hop
            if not self._trusted(hop):
                break
        return address

    def secure(self, request: Request) -> bool:
        """Whether the client came by TLS, to us or to a proxy of ours."""
        if self._tls:
            return True
        given = request.header(_PROTO)
        return (
            given is not None
            and given.strip().lower() == b"https"
            and self._trusted(request.peer.rpartition(":")[0].strip("[]"))
        )

    def _trusted(self, address: str) -> bool:
        if not self._networks:
            return False
        try:
            parsed = ip_address(address)
        except ValueError:
            return False
        return any(parsed in network for network in self._networks)
