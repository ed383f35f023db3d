"""Who sent a request: what it claims, read from its raw form, and whether the signature proves it.

`read_claim` looks at nothing but the request and the time; between it and `verify` the caller finds the secret of
`claim.access_key`. A request without any credentials has no claim: it is anonymous.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeAlias

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


class PayloadKind(Enum):
    """What x-amz-content-sha256 says about the body."""

    UNDECLARED = "no x-amz-content-sha256"
    SHA256 = "the SHA-256 of the body"
    UNSIGNED = "UNSIGNED-PAYLOAD"
    SIGNED_CHUNKS = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
    SIGNED_CHUNKS_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
    UNSIGNED_CHUNKS_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"


@dataclass(frozen=True, slots=True)
class Payload:
    kind: PayloadKind
    sha256: str = ""
    """In hex, lower case; only with SHA256."""

    @property
    def is_chunked(self) -> bool:
        """The body is aws-chunked: it must go through the decoder."""
        return self.kind in _CHUNKED


_CHUNKED: Final = frozenset(
    {PayloadKind.SIGNED_CHUNKS, PayloadKind.SIGNED_CHUNKS_TRAILER, PayloadKind.UNSIGNED_CHUNKS_TRAILER}
)


def payload_of(fields: Fields) -> Payload:
    """What the header says about the body, also of an anonymous request.

    Raises S3Fault InvalidArgument when x-amz-content-sha256 is none of the known values, and NotImplemented for
    chunks signed by SigV4A.
    """
    raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Rules:
    """What a claim must say beside being signed."""

    region: str | None = None
    """The only region that scopes may name; None: any, as Riak CS takes it."""
    max_skew_s: float = MAX_SKEW_S


ANY_REGION: Final = Rules()


@dataclass(frozen=True, slots=True)
class Claim:
    """What a request says about its sender; nothing of it is proved yet."""

    scheme: Scheme
    access_key: str
    payload: Payload
    session_token: str | None
    """x-amz-security-token of temporary credentials."""
    signature: str


@dataclass(frozen=True, slots=True)
class ChunkSeed:
    """What the signatures of chunks go on from."""

    signature: str
    """Of the request itself, in hex."""
    key: bytes
    scope: str
    timestamp: str
    """x-amz-date: YYYYMMDDTHHMMSSZ."""


@dataclass(frozen=True, slots=True)
class Verified:
    """Proved: the request was signed with the secret of `access_key`."""

    access_key: str
    scheme: Scheme
    payload: Payload
    seed: ChunkSeed | None
    """For the decoder of aws-chunked bodies; None unless the scheme is V4_HEADER."""


def read_claim(
    method: str,
    path: str,
    query: str,
    fields: Fields,
    now: float,
    *,
    bucket_in_host: str = "",
    rules: Rules = ANY_REGION,
) -> Claim | None:
    """The claim of a request, None when it is anonymous. `path` and `query` are as sent, `now` is Unix seconds.

    `bucket_in_host`: the bucket of a virtual-host style request, which SigV2 signs in front of the path.

    Raises S3Fault for what is malformed, ambiguous (two kinds of credentials at once), too early, too late, or leaves
    out of its signature what must be in it (host, every x-amz-*): AuthorizationHeaderMalformed,
    AuthorizationQueryParametersError, InvalidArgument, InvalidRequest, RequestTimeTooSkewed, AccessDenied.
    """
    raise NotImplementedError


def verify(claim: Claim, secret_key: str) -> Verified:
    """The proof. Compares in constant time. Raises S3Fault SignatureDoesNotMatch."""
    raise NotImplementedError
