"""What proxies say is believed only from proxies of ours."""

from __future__ import annotations

import pytest

from controlplane.gateway.s3.client_address import Proxies
from controlplane.http import Limits, Request
from controlplane.http.body import NO_BODY
from controlplane.http.head import HeaderBlock

OURS = Proxies(["10.0.0.0/8", "fd00::/8"], tls=False)


def request(peer: str, **headers: str) -> Request:
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return Request("GET", b"/", HeaderBlock(b"Host: h\r\n" + lines.encode(), Limits()), peer, NO_BODY)


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("192.0.2.1:5", "203.0.113.9", "192.0.2.1"),
        ("10.0.0.1:5", "203.0.113.9", "203.0.113.9"),
        ("10.0.0.1:5", "127.0.0.1, 203.0.113.9", "203.0.113.9"),
        ("10.0.0.1:5", "203.0.113.9, 10.0.0.2", "203.0.113.9"),
        ("10.0.0.1:5", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("10.0.0.1:5", "nonsense", "10.0.0.1"),
        ("10.0.0.1:5", "203.0.113.9, nonsense, 10.0.0.2", "10.0.0.2"),
        ("[fd00::1]:5", "2001:db8::7", "2001:db8::7"),
    ],
)
def test_the_client_is_the_last_address_that_is_no_proxy(peer: str, forwarded: str, address: str) -> None:
    assert OURS.address(request(peer, X_Forwarded_For=forwarded)) == address


def test_without_the_field_the_proxy_itself_asked() -> None:
    assert OURS.address(request("10.0.0.1:5")) == "10.0.0.1"


def test_only_a_proxy_of_ours_can_say_that_the_client_came_by_tls() -> None:
    assert OURS.secure(request("10.0.0.1:5", X_Forwarded_Proto="https"))
    assert not OURS.secure(request("10.0.0.1:5", X_Forwarded_Proto="http"))
    assert not OURS.secure(request("192.0.2.1:5", X_Forwarded_Proto="https"))
    assert Proxies([], tls=True).secure(request("192.0.2.1:5"))
