"""Requests signed by botocore, as they go over the wire, and what each of them means."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any
from unittest import mock
from urllib.parse import unquote_to_bytes, urlsplit

from botocore.auth import HmacV1Auth, HmacV1QueryAuth, S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from controlplane.s3.claim import Scheme
from controlplane.s3.sigv2 import SIGNED_QUERY, http_date
from controlplane.s3.uri import encode_path

ACCESS = "AKIAIOSFODNN7EXAMPLE"
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
HOST = "store.test:8080"
EXPIRES_S = 600


@dataclass(frozen=True)
class Wire:
    method: str
    path: str
    query: str
    fields: tuple[tuple[bytes, bytes], ...]
    scheme: Scheme

    def values(self) -> dict[bytes, list[bytes]]:
        found: dict[bytes, list[bytes]] = {}
        for name, value in self.fields:
            found.setdefault(name, []).append(b" ".join(value.split()))
        return found

    def meaning(self) -> object:
        """What a signature binds. Two requests of one meaning may share a signature."""
        pairs = [part.partition("=") for part in self.query.split("&") if part]
        decoded = sorted((_bytes(name), _bytes(value)) for name, _, value in pairs)
        amz = {name: value for name, value in self.values().items() if name.startswith(b"x-amz-")}
        path = unquote_to_bytes(self.path)
        if self.scheme.is_v4:
            signed = self._signed_names(decoded)
            values = {name: value for name, value in self.values().items() if name in signed}
            return self.method, path, decoded, amz | values
        names = {name.encode() for name in SIGNED_QUERY} | {b"Expires", b"AWSAccessKeyId"}
        bound = [(name, value) for name, value in decoded if name in names]
        if self.scheme is Scheme.V2_QUERY:  # headers that stand in the query: their names mean the same in any case
            hoisted = (b"x-amz-", b"content-type", b"content-md5")
            bound += sorted((name.lower(), value) for name, value in decoded if name.lower().startswith(hoisted))
        plain = {name: self.values().get(name) for name in (b"content-type", b"content-md5", b"date")}
        return self.method, path, bound, amz, plain

    def _signed_names(self, query: list[tuple[bytes, bytes]]) -> set[bytes]:
        if self.scheme is Scheme.V4_QUERY:
            return set(dict(query).get(b"X-Amz-SignedHeaders", b"").split(b";"))
        authorization = dict(self.fields)[b"authorization"]
        return set(authorization.partition(b"SignedHeaders=")[2].partition(b",")[0].split(b";"))

    def without(self, name: bytes) -> Wire:
        return replace(self, fields=tuple(field for field in self.fields if field[0] != name))

    def having(self, name: bytes, value: bytes) -> Wire:
        return replace(self, fields=(*self.without(name).fields, (name, value)))


def _bytes(text: str) -> bytes:
    return unquote_to_bytes(text.replace("+", " "))


class _Moment:
    """The part of a datetime that botocore's signer uses."""

    def __init__(self, moment: time.struct_time) -> None:
        self._moment = moment

    def strftime(self, form: str) -> str:
        return time.strftime(form, self._moment)


_SIGNERS: dict[Scheme, Callable[[Credentials, str], Any]] = {
    Scheme.V4_HEADER: lambda who, region: S3SigV4Auth(who, "s3", region),
    Scheme.V4_QUERY: lambda who, region: S3SigV4QueryAuth(who, "s3", region, expires=EXPIRES_S),
    Scheme.V2_HEADER: lambda who, region: HmacV1Auth(who),
    Scheme.V2_QUERY: lambda who, region: HmacV1QueryAuth(who, expires=EXPIRES_S),
}


def sign(
    scheme: Scheme,
    method: str,
    path: str,
    query: str,
    headers: dict[str, str],
    now: int,
    *,
    region: str = "us-east-1",
    body: bytes = b"",
    token: str | None = None,
) -> Wire:
    """`path` is decoded, `query` as on the wire, `headers` without host."""
    url = f"http://{HOST}{encode_path(path)}" + ("?" + query if query else "")
    request: Any = AWSRequest(method=method, url=url, headers=dict(headers), data=body)
    with (
        mock.patch("botocore.auth.get_current_datetime", return_value=_Moment(time.gmtime(now)), create=True),
        mock.patch("botocore.auth.time.time", return_value=now),
        mock.patch("botocore.auth.formatdate", return_value=http_date(now)),
    ):
        _SIGNERS[scheme](Credentials(ACCESS, SECRET, token), region).add_auth(request)
    split = urlsplit(request.url)
    moved = {name for name in request.headers if name.lower().startswith("x-amz-") or name.lower() == "date"}
    dropped = moved | {"Content-Type", "content-type"} if scheme is Scheme.V2_QUERY else set()
    fields = [(b"host", HOST.encode())]
    fields += [
        (name.lower().encode(), value if isinstance(value, bytes) else value.encode())
        for name, value in request.headers.items()
        if name not in dropped and name.lower() != "host"
    ]
    return Wire(method, split.path, split.query, tuple(fields), scheme)
