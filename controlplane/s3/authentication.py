"""Who sent a request: what it claims, read from its raw form, and whether the signature proves it.

`read_claim` looks at nothing but the request and the time; between it and `verify` the caller finds the secret of
`claim.access_key`. A request without any credentials has no claim: it is anonymous.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from functools import partial

from controlplane.s3 import sigv2, sigv4
from controlplane.s3.addressing import decode_query
from controlplane.s3.claim import (
    ANY_REGION,
    ChunkSeed,
    Claim,
    Fields,
    Payload,
    PayloadKind,
    Rules,
    Scheme,
    Scope,
    Verified,
    joined,
    payload_of,
)
from controlplane.s3.claim_v2 import read_v2_header, read_v2_query
from controlplane.s3.claim_v4 import read_v4_header, read_v4_query
from controlplane.s3.fault import Code, Elements, S3Fault

__all__ = [
    "ANY_REGION",
    "ChunkSeed",
    "Claim",
    "Fields",
    "Payload",
    "PayloadKind",
    "Rules",
    "Scheme",
    "Scope",
    "Verified",
    "payload_of",
    "read_claim",
    "verify",
]

_V4_QUERY = frozenset({"X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature"})
_V2_QUERY = frozenset({"AWSAccessKeyId", "Signature"})


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
    values = joined(fields)
    authorization = values.get(b"authorization", b"")
    pairs = decode_query(query)
    in_v4_query = in_v2_query = False
    if pairs:
        names = {name for name, _ in pairs}
        in_v4_query, in_v2_query = not names.isdisjoint(_V4_QUERY), not names.isdisjoint(_V2_QUERY)
    if bool(authorization) + in_v4_query + in_v2_query > 1:
        raise S3Fault(
            Code.INVALID_ARGUMENT,
            "One kind of credentials is allowed: an Authorization header, X-Amz-Signature in the query, or Signature "
            "in the query.",
            extra=(("ArgumentName", "Authorization"), ("ArgumentValue", authorization.decode("latin-1"))),
        )
    if in_v4_query:
        return read_v4_query(method, path, query, pairs, values, now, rules)
    signed_path = f"/{bucket_in_host}{path}" if bucket_in_host else path
    if in_v2_query:
        return read_v2_query(method, signed_path, query, pairs, values, now)
    if not authorization:
        return None
    if authorization.startswith(b"AWS4-HMAC-SHA256"):
        return read_v4_header(method, path, query, values, now, rules)
    if authorization.startswith(b"AWS "):
        return read_v2_header(method, signed_path, query, values, now, rules)
    if authorization.startswith(b"AWS4-ECDSA-P256-SHA256"):
        raise S3Fault(Code.NOT_IMPLEMENTED, "SigV4A is not served; sign with AWS4-HMAC-SHA256.")
    raise S3Fault(
        Code.INVALID_ARGUMENT,
        "This type of Authorization is not known; sign with AWS4-HMAC-SHA256 or AWS.",
        extra=(("ArgumentName", "Authorization"), ("ArgumentValue", authorization.decode("latin-1"))),
    )


def verify(claim: Claim, secret_key: str) -> Verified:
    """The proof. Compares in constant time. Raises S3Fault SignatureDoesNotMatch; AuthorizationHeaderMalformed for a
    credential of another day: an unknown access key is told first."""
    scope = claim.scope
    if scope is not None:
        if claim.timestamp[:8] != scope.date:
            day = claim.timestamp[:8]
            raise S3Fault(
                Code.AUTHORIZATION_HEADER_MALFORMED,
                f"The Authorization header is malformed: the date of the credential is not {day}, the day of the "
                "request.",
            )
        key = sigv4.signing_key(secret_key, scope.date, scope.region, scope.service)
        holds = _one_matches(claim, partial(sigv4.signature, key))
    else:
        key = b""
        holds = _one_matches(claim, lambda text: sigv2.signature_of(secret_key, text.encode("latin-1")))
    if not holds:
        raise S3Fault(Code.SIGNATURE_DOES_NOT_MATCH, extra=_signed_here(claim))
    seed = None
    if scope is not None and claim.payload.has_signed_chunks:
        seed = ChunkSeed(claim.signature, key, str(scope), claim.timestamp)
    return Verified(claim.access_key, claim.scheme, claim.payload, seed)


def _one_matches(claim: Claim, sign: Callable[[str], str]) -> bool:
    strings = claim.strings
    if hmac.compare_digest(sign(strings[0]), claim.signature):
        return True
    return any(hmac.compare_digest(sign(text), claim.signature) for text in strings[1:])


def _signed_here(claim: Claim) -> Elements:
    """What the client needs to find its mistake; it has nothing that the client did not send."""
    shown = [
        ("AWSAccessKeyId", claim.access_key),
        ("StringToSign", claim.strings[0]),
        ("SignatureProvided", claim.signature),
    ]
    if claim.canonical:
        shown.append(("CanonicalRequest", claim.canonical.decode("latin-1")))
    return tuple(shown)
