"""What a request says about its sender and its body, before anything of it is proved."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, NamedTuple, TypeAlias

from controlplane.s3.fault import Code, S3Fault
from controlplane.s3.sigv4 import EMPTY_SHA256
from controlplane.s3.uri import Query

Fields: TypeAlias = Sequence[tuple[bytes, bytes]]
"""Header fields as the HTTP engine has them: names in lower case, values as sent, in order, repeats kept."""

MAX_SKEW_S: Final = 900.0


class Scheme(Enum):
    V4_HEADER = "SigV4 in the Authorization header"
    V4_QUERY = "SigV4 in the query (presigned)"
    V2_HEADER = "SigV2 in the Authorization header"
    V2_QUERY = "SigV2 in the query (presigned)"
    V4_FORM = "SigV4 in a POST form"
    V2_FORM = "SigV2 in a POST form"

    @property
    def is_v4(self) -> bool:
        return self in (Scheme.V4_HEADER, Scheme.V4_QUERY, Scheme.V4_FORM)


class PayloadKind(Enum):
    """What x-amz-content-sha256 says about the body."""

    __hash__ = object.__hash__

    UNDECLARED = "no x-amz-content-sha256"
    SHA256 = "the SHA-256 of the body"
    UNSIGNED = "UNSIGNED-PAYLOAD"
    SIGNED_CHUNKS = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
    SIGNED_CHUNKS_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
    UNSIGNED_CHUNKS_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"


_SIGNED_CHUNKS: Final = frozenset({PayloadKind.SIGNED_CHUNKS, PayloadKind.SIGNED_CHUNKS_TRAILER})
_CHUNKED: Final = _SIGNED_CHUNKS | {PayloadKind.UNSIGNED_CHUNKS_TRAILER}


@dataclass(frozen=True, slots=True)
class Payload:
    kind: PayloadKind
    sha256: str = ""
    """In hex, lower case; only with SHA256."""

    @property
    def is_chunked(self) -> bool:
        """The body is aws-chunked: it must go through the decoder."""
        return self.kind in _CHUNKED

    @property
    def has_signed_chunks(self) -> bool:
        return self.kind in _SIGNED_CHUNKS

    @property
    def has_trailer(self) -> bool:
        return self.kind in (PayloadKind.SIGNED_CHUNKS_TRAILER, PayloadKind.UNSIGNED_CHUNKS_TRAILER)


UNDECLARED: Final = Payload(PayloadKind.UNDECLARED)

_NAMED: Final = {
    kind.value.encode(): Payload(kind) for kind in PayloadKind if kind is PayloadKind.UNSIGNED or kind in _CHUNKED
}
_NAMED[EMPTY_SHA256.encode()] = Payload(PayloadKind.SHA256, EMPTY_SHA256)  # of nearly every read
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+\Z", re.ASCII)
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_SHA256: Final = re.compile(rb"[0-9a-fA-F]{64}\Z")


def payload_of(fields: Fields) -> Payload:
    """What the headers say about the body, also of an anonymous request.

    Raises S3Fault: InvalidArgument when x-amz-content-sha256 is none of the known values, InvalidRequest when it
    contradicts aws-chunked, NotImplemented for chunks signed by SigV4A.
    """
    return payload_declared(joined(fields))


def payload_declared(values: Mapping[bytes, bytes]) -> Payload:
    """The same, of joined fields.

    A body without signature may be aws-chunked too, and says so by Content-Encoding and its decoded length only
    (botocore's unsigned uploads over TLS): its framing must not be stored (awschunked-unsigned-trailer-get).
    """
    value = values.get(b"x-amz-content-sha256")
    payload = UNDECLARED if value is None else payload_named(value)
    if payload.kind in _CHUNKED or b"x-amz-decoded-content-length" not in values:
        return payload
    codings = values.get(b"content-encoding", b"").lower().split(b",")
    if b"aws-chunked" not in [coding.strip() for coding in codings]:
        return payload
    if payload.kind is PayloadKind.SHA256:
        raise S3Fault(
            Code.INVALID_REQUEST, "The body is aws-chunked, but x-amz-content-sha256 does not say in which form."
        )
    return Payload(PayloadKind.UNSIGNED_CHUNKS_TRAILER)


def payload_named(value: bytes) -> Payload:
    """The payload that a value of x-amz-content-sha256 declares."""
    found = _NAMED.get(value)
    if found is not None:
        return found
    if _SHA256.match(value):
        return Payload(PayloadKind.SHA256, value.decode().lower())
    if value.startswith(b"STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD"):
        raise S3Fault(Code.NOT_IMPLEMENTED, "SigV4A is not served; sign with AWS4-HMAC-SHA256.")
    text = value.decode("latin-1")
    raise S3Fault(
        Code.INVALID_ARGUMENT,
        "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, a known STREAMING- value, or a SHA-256 in hex.",
        extra=(("ArgumentName", "x-amz-content-sha256"), ("ArgumentValue", text)),
    )


def joined(fields: Fields) -> dict[bytes, bytes]:
    """Values by name; those of a repeated field are joined by commas in their order, as signatures see them."""
    found = dict(fields)
    if len(found) != len(fields):
        found = {}
        for name, value in fields:
            found[name] = found[name] + b"," + value if name in found else value
    return found


def hoisted_fields(query: Query, *, besides: frozenset[str] = frozenset(), own: frozenset[str] = frozenset()) -> Fields:
    """The header fields that a presigned query carries: x-amz-* except the signature's `own`, and names in `besides`.

    Raises S3Fault InvalidArgument for what could not have come as a header: it must not become one on the way on.
    """
    found = []
    for name, value in query:
        lower = name.lower()
        if (lower[:6] != "x-amz-" and lower not in besides) or name in own:
            continue
        if _TOKEN.match(lower) is None or _CONTROL.search(value):
            raise S3Fault(
                Code.INVALID_ARGUMENT,
                "A parameter that stands for a header has a character that no header has.",
                extra=(("ArgumentName", name), ("ArgumentValue", value)),
            )
        found.append((lower.encode(), value.encode()))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Rules:
    """What a claim must say beside being signed."""

    region: str | None = None
    """The only region that scopes may name; None: any, as Riak CS takes it."""
    max_skew_s: float = MAX_SKEW_S


ANY_REGION: Final = Rules()


@dataclass(frozen=True, slots=True)
class Scope:
    """What a SigV4 signing key is good for. `date` is YYYYMMDD."""

    date: str
    region: str
    service: str
    text: str = field(init=False, repr=False, compare=False)
    """As it is signed."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", f"{self.date}/{self.region}/{self.service}/aws4_request")

    def __str__(self) -> str:
        return self.text


class Claim(NamedTuple):
    """What a request says about its sender; nothing of it is proved yet. (A tuple: one is made for every request.)"""

    scheme: Scheme
    access_key: str
    signature: str
    """As given: lower-case hex of SigV4, base64 of SigV2."""
    payload: Payload
    strings: tuple[str, ...]
    """What must have been signed: one of these strings. They differ in how clients write the same request, never in
    its meaning. Characters stand for bytes (Latin-1) with SigV2."""
    session_token: str | None = None
    """x-amz-security-token of temporary credentials."""
    hoisted: Fields = ()
    """Header fields that a presigned query carries: they count like sent ones (x-amz-acl, x-amz-meta-*, ...)."""
    scope: Scope | None = None
    """Only of SigV4."""
    timestamp: str = ""
    """Only of SigV4: the time in the form of x-amz-date, YYYYMMDDTHHMMSSZ."""
    canonical: bytes = b""
    """Only of SigV4 over a request: the canonical request behind the first string, for the client that errs."""


@dataclass(frozen=True, slots=True)
class ChunkSeed:
    """What the signatures of chunks go on from."""

    signature: str
    """Of the request itself, in hex."""
    key: bytes
    scope: str
    timestamp: str
    """YYYYMMDDTHHMMSSZ."""


class Verified(NamedTuple):
    """Proved: the request was signed with the secret of `access_key`."""

    access_key: str
    scheme: Scheme
    payload: Payload
    seed: ChunkSeed | None
    """For the decoder of aws-chunked bodies; None unless the chunks are signed."""


def iso_time(at: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(int(at)))


def skewed(given: str, now: float, rules: Rules) -> S3Fault:
    return S3Fault(
        Code.REQUEST_TIME_TOO_SKEWED,
        extra=(
            ("RequestTime", given),
            ("ServerTime", iso_time(now)),
            ("MaxAllowedSkewMilliseconds", str(int(rules.max_skew_s * 1000))),
        ),
    )
