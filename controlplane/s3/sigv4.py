"""AWS Signature Version 4 for S3, for the side that signs and the side that verifies.

Source: AWS, "Authenticating Requests (AWS Signature Version 4)". S3 differs from other services in two points: the path
is encoded once and not normalised, and x-amz-content-sha256 is always sent and signed.
"""

from __future__ import annotations

import hmac
import re
import time
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from hashlib import sha256
from operator import itemgetter
from typing import TYPE_CHECKING, Final, NamedTuple

from controlplane.s3.uri import canonical_query, encode_path

if TYPE_CHECKING:
    from hashlib import _Hash as HASH

ALGORITHM: Final = "AWS4-HMAC-SHA256"
UNSIGNED_PAYLOAD: Final = "UNSIGNED-PAYLOAD"
EMPTY_SHA256: Final = sha256(b"").hexdigest()

_PLACE: Final = "\0"
"""No name of a header has it."""
_MOST_FORMS: Final = 256
_SPACES = re.compile(r" {2,}")
_SIGNED_BESIDES_AMZ: Final = frozenset({"host", "content-type", "content-md5"})


class _Signed(NamedTuple):
    """Those of the headers that are signed, by name; the same for most requests."""

    names: str
    """Joined by semicolons."""
    lines: str
    """Of the canonical request, with %s for the values."""
    values: Callable[[Mapping[str, str]], tuple[str, ...]]
    """Of all headers: those that are signed, in the order of the lines."""


@lru_cache(maxsize=256)
def _signed_of(names: tuple[str, ...]) -> _Signed:
    """`names` contain x-amz-date and x-amz-content-sha256: one alone would not come as a tuple."""
    signed = sorted(name for name in names if name in _SIGNED_BESIDES_AMZ or name.startswith("x-amz-"))
    lines = "".join([f"{name.replace('%', '%%')}:%s\n" for name in signed])
    return _Signed(";".join(signed), lines, itemgetter(*signed))


@lru_cache(maxsize=1024)
def signing_key(secret_key: str, date: str, region: str, service: str) -> bytes:
    """The key of one day (`date` is YYYYMMDD), region and service; cached, for its four HMACs cost most."""
    key = hmac.digest(b"AWS4" + secret_key.encode(), date.encode(), "sha256")
    for step in (region, service, "aws4_request"):
        key = hmac.digest(key, step.encode(), "sha256")
    return key


@lru_cache(maxsize=8)
def amz_date(second: int) -> str:
    """Unix seconds as x-amz-date: YYYYMMDDTHHMMSSZ."""
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))


class _Form(NamedTuple):
    """A head that is sent and signed: what requests of one second with the same header names have in common, as pieces,
    with places between them for the rest."""

    signed: list[str]
    """The canonical request."""
    values: Callable[[tuple[str, ...]], tuple[str, ...]]
    """Those of `signed`, of: target, digest of the body, length, and the headers' values."""
    sent: list[str]
    """Of all those values, and the signature."""


def _form_of(text: str) -> list[str]:
    """`text` has a NUL at each place."""
    pieces = text.split(_PLACE)
    return [piece for pair in zip(pieces, [""] * len(pieces), strict=True) for piece in pair][:-1]


def _filled(form: list[str], values: tuple[str, ...]) -> str:
    """Twice as fast as the same by %s. Raises ValueError when there are not as many values as places."""
    pieces = form.copy()
    pieces[1::2] = values
    return "".join(pieces)


def canonical_header_value(value: str) -> str:
    """Trimmed, runs of spaces made one."""
    value = value.strip()
    return _SPACES.sub(" ", value) if "  " in value else value


def _is_canonical(lines: str) -> bool:
    """Whether no value in these lines can have to be trimmed, or runs of spaces made one; also False when in doubt."""
    # Of other whitespace no header can carry more than tabs in ASCII.
    if not lines.isascii() or "\t" in lines:
        return False
    return " " not in lines or not ("  " in lines or ": " in lines or " \n" in lines)


def canonical_request(
    method: str, path: str, query: str, headers: Iterable[tuple[str, str]], signed_headers: str, payload_sha256: str
) -> str:
    """`path` is encoded, `query` canonical, `headers` lower-case, canonical and sorted by name, `signed_headers` their
    names joined by semicolons."""
    lines = "".join([f"{name}:{value}\n" for name, value in headers])
    return f"{method}\n{path}\n{query}\n{lines}\n{signed_headers}\n{payload_sha256}"


def scope_of(date: str, region: str, service: str) -> str:
    return f"{date}/{region}/{service}/aws4_request"


def string_to_sign(timestamp: str, scope: str, request: bytes) -> str:
    """`request` is the canonical request, `timestamp` the x-amz-date."""
    return f"{ALGORITHM}\n{timestamp}\n{scope}\n{sha256(request).hexdigest()}"


@lru_cache(maxsize=64)
def _begun_hmac(key: bytes) -> tuple[HASH, HASH]:
    """Inner and outer hash of HMAC-SHA256 (RFC 2104) that took in the key; to be copied. Setting up an HMAC anew for
    every signature costs twice as much as the signature."""
    block = key.ljust(64, b"\0")
    return sha256(bytes([byte ^ 0x36 for byte in block])), sha256(bytes([byte ^ 0x5C for byte in block]))


def signature(key: bytes, text: str) -> str:
    """HMAC-SHA256 in hex. `key` is a signing key, which has 32 bytes (longer ones would have to be hashed first)."""
    begun, outer = _begun_hmac(key)
    inner = begun.copy()
    inner.update(text.encode())
    outer = outer.copy()
    outer.update(inner.digest())
    return outer.hexdigest()


class SignerV4:
    """Signs requests with one key pair for one region."""

    __slots__ = (
        "_access_key",
        "_begun",
        "_credential",
        "_forms",
        "_key",
        "_outer",
        "_plain_lines",
        "_plain_tail",
        "_region",
        "_scope",
        "_second",
        "_secret_key",
        "_service",
        "_time",
    )

    def __init__(self, access_key: str, secret_key: str, region: str, service: str = "s3") -> None:
        self._access_key = access_key
        self._secret_key = secret_key
        self._region = region
        self._service = service
        self._second = -1
        """What is signed within one second shares the values that follow."""
        self._time = self._scope = self._credential = ""
        self._plain_lines = self._plain_tail = ""
        self._forms: dict[tuple[str, ...], _Form] = {}
        """By method, host and the names of headers."""
        self._begun = self._outer = sha256()
        """The hashes of a signature's HMAC; the first has what all strings to sign of the second begin with."""
        self._key = b""

    def sign(
        self,
        method: str,
        path: str,
        query: Iterable[tuple[str, str]],
        headers: Mapping[str, str],
        payload_sha256: str,
        now: float,
    ) -> dict[str, str]:
        """The headers to send in place of `headers`: those, x-amz-date, x-amz-content-sha256 and authorization.

        `path` is decoded. `headers` have lower-case names and contain host. Signed are host, content-type, content-md5
        and x-amz-*; others may be changed by proxies without harm.
        """
        second = int(now)
        if second != self._second:
            self._begin(second)
        sent = {**headers, "x-amz-content-sha256": payload_sha256, "x-amz-date": self._time}
        names, form, values_of = _signed_of(tuple(sent))
        values = values_of(sent)
        lines = form % values
        if not _is_canonical(lines):
            lines = form % tuple([canonical_header_value(value) for value in values])
        request = f"{method}\n{encode_path(path)}\n{canonical_query(query)}\n{lines}\n{names}\n{payload_sha256}"
        sent["authorization"] = f"{self._credential}{names}, Signature={self._proof(request)}"
        return sent

    def plain(self, method: str, targets: Iterable[str], host: str, now: float) -> str:
        """The heads of requests that have neither body nor query nor further headers, one behind the other; `targets`
        are encoded paths. The same signatures as sign() makes, for a fifth of its time."""
        second = int(now)
        if second != self._second:
            self._begin(second)
        between = f"\n\nhost:{host}\n{self._plain_tail}"
        fields = f" HTTP/1.1\r\nhost: {host}\r\n{self._plain_lines}"
        heads: list[str] = []
        for target in targets:
            proof = self._proof(f"{method}\n{target}{between}")
            heads.append(f"{method} {target}{fields}{proof}\r\n\r\n")
        return "".join(heads)

    def head(
        self,
        method: str,
        target: str,
        host: str,
        headers: Mapping[str, str],
        payload_sha256: str,
        length: int,
        now: float,
    ) -> str:
        """The head of a request with a body and no query; `target` is an encoded path, `headers` are without host. The
        same signature as sign() makes, which takes one and a half times as long with the head made of what it gives."""
        second = int(now)
        if second != self._second:
            self._begin(second)
        kind = (method, host, *headers)
        form = self._forms.get(kind)
        if form is None:
            if len(self._forms) >= _MOST_FORMS:
                self._forms.clear()
            form = self._forms[kind] = self._form(method, host, tuple(headers))
        given = (target, payload_sha256, str(length), *headers.values())
        values = form.values(given)
        request = _filled(form.signed, values)
        if not _is_canonical(request):
            # Neither target nor digest has blanks.
            request = _filled(form.signed, tuple([canonical_header_value(value) for value in values]))
        return _filled(form.sent, (*given, self._proof(request)))

    def _form(self, method: str, host: str, names: tuple[str, ...]) -> _Form:
        places = {name: place for place, name in enumerate(names, 3)}
        known = {"host": host, "x-amz-date": self._time}
        places["x-amz-content-sha256"] = 1
        signed = sorted(name for name in {*places, *known} if name in _SIGNED_BESIDES_AMZ or name.startswith("x-amz-"))
        lines = "".join([f"{name}:{known.get(name, _PLACE)}\n" for name in signed])
        joined = ";".join(signed)
        fields = "".join([f"{name}: {_PLACE}\r\n" for name in names])
        return _Form(
            _form_of(f"{method}\n{_PLACE}\n\n{lines}\n{joined}\n{_PLACE}"),
            itemgetter(0, *(places[name] for name in signed if name not in known), 1),
            _form_of(
                f"{method} {_PLACE} HTTP/1.1\r\nhost: {host}\r\nx-amz-content-sha256: {_PLACE}\r\n"
                f"content-length: {_PLACE}\r\n{fields}x-amz-date: {self._time}\r\n"
                f"authorization: {self._credential}{joined}, Signature={_PLACE}\r\n\r\n"
            ),
        )

    def _proof(self, request: str) -> str:
        """The signature of a canonical request."""
        inner = self._begun.copy()
        inner.update(sha256(request.encode()).hexdigest().encode())
        outer = self._outer.copy()
        outer.update(inner.digest())
        return outer.hexdigest()

    def _begin(self, second: int) -> None:
        self._time = amz_date(second)
        date = self._time[:8]
        self._scope = scope_of(date, self._region, self._service)
        self._key = signing_key(self._secret_key, date, self._region, self._service)
        self._credential = f"{ALGORITHM} Credential={self._access_key}/{self._scope}, SignedHeaders="
        names = "host;x-amz-content-sha256;x-amz-date"
        inner, self._outer = _begun_hmac(self._key)
        self._begun = inner.copy()
        self._begun.update(f"{ALGORITHM}\n{self._time}\n{self._scope}\n".encode())
        self._plain_tail = f"x-amz-content-sha256:{EMPTY_SHA256}\nx-amz-date:{self._time}\n\n{names}\n{EMPTY_SHA256}"
        self._plain_lines = (
            f"x-amz-content-sha256: {EMPTY_SHA256}\r\nx-amz-date: {self._time}\r\n"
            f"authorization: {self._credential}{names}, Signature="
        )
        self._forms.clear()
        self._second = second
