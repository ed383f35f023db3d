"""SigV4 as requests carry it: in the Authorization header, or in the query of a presigned URL.

Source: AWS, "Authenticating Requests (AWS Signature Version 4)". S3 signs the path as it is sent; the query is signed
re-encoded and sorted. Where real clients sign what they sent instead, or encode more of the path than they send, the
claim has more than one string: all of them mean the same request.
"""

from __future__ import annotations

import re
import time
from calendar import timegm
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from controlplane.s3.canonical_v4 import query_parts, strings_to_sign
from controlplane.s3.claim import (
    ANY_REGION,
    Claim,
    Payload,
    Rules,
    Scheme,
    Scope,
    hoisted_fields,
    iso_time,
    payload_declared,
    skewed,
)
from controlplane.s3.dates import MalformedDate, parse_http_date
from controlplane.s3.fault import Code, S3Fault
from controlplane.s3.sigv4 import ALGORITHM, UNSIGNED_PAYLOAD, amz_date
from controlplane.s3.uri import Query, form_decoded

MAX_EXPIRES_S: Final = 604_800

_AUTHORIZATION: Final = re.compile(
    rb"AWS4-HMAC-SHA256[ \t]+Credential=([^\s,=]+)[ \t]*,[ \t]*SignedHeaders=([^\s,=]+)[ \t]*,"
    rb"[ \t]*\Z"
)
_GIVEN_SIGNATURE: Final = re.compile(rb"[!-+\--~]{1,256}\Z")
"""A signature of another form is a wrong one: that is said once the key is known."""
_SIGNATURE: Final = re.compile(r"[0-9a-f]{64}\Z")
_TIMESTAMP: Final = re.compile(r"[0-9]{8}T[0-9]{6}Z\Z", re.ASCII)
_NUMBER: Final = re.compile(r"-?[0-9]{1,18}\Z", re.ASCII)
_SIGNED_NAMES: Final = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+(?:;[!#$%&'*+.^_`|~0-9a-z-]+)*\Z", re.ASCII)
_LAST_SECOND: Final = 253_402_300_799  # of the year 9999
_BOUND: Final = frozenset({b"x-amz-content-sha256", b"x-amz-date"})
"""Signed in any case: the first is the last line of the canonical request, the second a line of the string to sign."""
_QUERY_OWN: Final = frozenset(
    {
        "X-Amz-Algorithm", "X-Amz-Content-Sha256", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires",
        "X-Amz-Security-Token", "X-Amz-Signature", "X-Amz-SignedHeaders",
    }
)  # fmt: skip


def read_v4_header(
    method: str,
    path: str,
    raw_query: str,
    values: Mapping[bytes, bytes],
    now: float,
    rules: Rules = ANY_REGION,
) -> Claim:
    """The claim of the Authorization header in `values` (joined fields). Raises S3Fault."""
    until_signature, _, raw_signature = values[b"authorization"].rpartition(b"Signature=")
    terms = _terms_of(until_signature)
    if terms is None or _GIVEN_SIGNATURE.match(raw_signature) is None:
        raise _malformed("it must read: AWS4-HMAC-SHA256 Credential=..., SignedHeaders=..., Signature=...")
    raw_credential, raw_names = terms
    access_key, scope = read_credential(raw_credential, Code.AUTHORIZATION_HEADER_MALFORMED)
    check_scope(scope, rules, Code.AUTHORIZATION_HEADER_MALFORMED)
    timestamp, at = _time_of(values)
    if abs(now - at) > rules.max_skew_s:
        raise skewed(timestamp, now, rules)
    names = _signed_names(raw_names, values, Code.AUTHORIZATION_HEADER_MALFORMED)
    declared = values.get(b"x-amz-content-sha256")
    if declared is None:
        raise S3Fault(Code.INVALID_REQUEST, "The header x-amz-content-sha256 is needed with SigV4.")
    payload = payload_declared(values)
    strings, canonical = strings_to_sign(
        method, path, query_parts(raw_query), values, names, raw_names, declared, timestamp, scope
    )
    token = values.get(b"x-amz-security-token")
    return Claim(
        Scheme.V4_HEADER,
        access_key,
        raw_signature.decode(),
        payload,
        strings,
        session_token=None if token is None else token.decode("latin-1"),
        scope=scope,
        timestamp=timestamp,
        canonical=canonical,
    )


@lru_cache(maxsize=1024)
def _terms_of(authorization: bytes) -> tuple[bytes, bytes] | None:
    """Credential and names of the signed headers, of an Authorization header up to its signature: the same in most
    requests of a client on one day. None when it is malformed."""
    matched = _AUTHORIZATION.match(authorization)
    return None if matched is None else (matched[1], matched[2])


def read_v4_query(
    method: str,
    path: str,
    raw_query: str,
    query: Query,
    values: Mapping[bytes, bytes],
    now: float,
    rules: Rules = ANY_REGION,
) -> Claim:
    """The claim of a presigned URL. `query` is `raw_query` decoded. Raises S3Fault."""
    given = _query_parameters(query)
    algorithm = given["X-Amz-Algorithm"]
    if algorithm != ALGORITHM:
        if algorithm.startswith("AWS4-ECDSA"):
            raise S3Fault(Code.NOT_IMPLEMENTED, "SigV4A is not served; sign with AWS4-HMAC-SHA256.")
        raise _bad_query(f"X-Amz-Algorithm must be {ALGORITHM}.")
    raw_credential, raw_names = given["X-Amz-Credential"], given["X-Amz-SignedHeaders"]
    if not raw_names.isascii():
        raise _bad_query("X-Amz-SignedHeaders has characters that no name of a header has.")
    access_key, scope = read_credential(raw_credential.encode(), Code.AUTHORIZATION_QUERY_PARAMETERS_ERROR)
    check_scope(scope, rules, Code.AUTHORIZATION_QUERY_PARAMETERS_ERROR)
    if _SIGNATURE.match(given["X-Amz-Signature"]) is None:
        raise _bad_query("X-Amz-Signature must have 64 lower-case hex digits.")
    timestamp = given["X-Amz-Date"]
    if _TIMESTAMP.match(timestamp) is None:
        raise _bad_query("X-Amz-Date must be in the form YYYYMMDDTHHMMSSZ.")
    if timestamp[:8] != scope.date:
        raise _bad_query(f"the date of X-Amz-Credential is not {timestamp[:8]}, the day of X-Amz-Date.")
    _check_expiry(timestamp, given["X-Amz-Expires"], now, rules)
    names = _signed_names(raw_names.encode(), values, Code.AUTHORIZATION_QUERY_PARAMETERS_ERROR)
    declared, payload = _presigned_payload(given, values, names)
    parts = tuple((name, value) for name, value in query_parts(raw_query) if form_decoded(name) != "X-Amz-Signature")
    strings, canonical = strings_to_sign(
        method, path, parts, values, names, raw_names.encode(), declared.encode("latin-1"), timestamp, scope
    )
    hoisted = hoisted_fields(query, own=_QUERY_OWN)
    token = given.get("X-Amz-Security-Token")
    return Claim(
        Scheme.V4_QUERY,
        access_key,
        given["X-Amz-Signature"],
        payload,
        strings,
        session_token=token,
        hoisted=hoisted,
        scope=scope,
        timestamp=timestamp,
        canonical=canonical,
    )


@lru_cache(maxsize=256)
def _names_of(raw: bytes) -> tuple[tuple[bytes, ...], frozenset[bytes]] | None:
    """The signed names in order; None when they are not a sorted list of lower-case names."""
    text = raw.decode("latin-1")
    if _SIGNED_NAMES.match(text) is None:
        return None
    names = tuple(raw.split(b";"))
    return (names, frozenset(names)) if list(names) == sorted(set(names)) else None


def _signed_names(raw: bytes, values: Mapping[bytes, bytes], code: Code) -> tuple[bytes, ...]:
    """The names of the signed headers; host and every x-amz-* that was sent must be among them."""
    found = _names_of(raw)
    if found is None:
        raise S3Fault(code, "The signed headers must be lower-case names, sorted, joined by semicolons.")
    names, signed = found
    left_out = [name for name in values if name not in signed and name[:6] == b"x-amz-" and name not in _BOUND]
    if b"host" not in signed:
        left_out.append(b"host")
    if left_out:
        raise S3Fault(
            Code.ACCESS_DENIED,
            "Some headers of the request are not signed that must be: host and every x-amz-*.",
            extra=(("HeadersNotSigned", ", ".join(sorted(name.decode("latin-1") for name in left_out))),),
        )
    return names


@lru_cache(maxsize=1024)
def _credential_of(raw: bytes) -> tuple[str, Scope] | None:
    parts = raw.rsplit(b"/", 4)
    if len(parts) != 5 or not raw.isascii() or not all(parts) or parts[4] != b"aws4_request":
        return None
    access_key, date, region, service, _ = (part.decode() for part in parts)
    if len(date) != 8 or not date.isdigit():
        return None
    return access_key, Scope(date, region, service)


def read_credential(raw: bytes, code: Code) -> tuple[str, Scope]:
    found = _credential_of(raw)
    if found is None:
        raise S3Fault(code, "The credential must read: <access key>/<YYYYMMDD>/<region>/s3/aws4_request.")
    return found


def check_scope(scope: Scope, rules: Rules, code: Code) -> None:
    if scope.service != "s3":
        raise S3Fault(code, f"The credential is for the service {scope.service[:40]!r}; it must be for 's3'.")
    if rules.region is not None and scope.region != rules.region:
        raise S3Fault(
            code,
            f"The credential is for the region {scope.region[:40]!r}; it must be for {rules.region!r}.",
            extra=(("Region", rules.region),),
        )


def _query_parameters(query: Query) -> dict[str, str]:
    """The parameters of the signature; each must be there once."""
    counts = Counter(name for name, _ in query if name in _QUERY_OWN)
    needed = {"X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-Signature"}
    missing = sorted((needed | {"X-Amz-SignedHeaders"}) - counts.keys())
    if missing:
        raise _bad_query(f"the query has no {', '.join(missing)}.")
    if max(counts.values()) > 1:
        raise _bad_query(f"{counts.most_common(1)[0][0]} is there more than once.")
    return {name: value for name, value in query if name in _QUERY_OWN}


@lru_cache(maxsize=64)
def _seconds_of(timestamp: str) -> int | None:
    """Unix seconds of YYYYMMDDTHHMMSSZ; None when it is no date."""
    if _TIMESTAMP.match(timestamp) is None:
        return None
    try:
        return timegm(time.strptime(timestamp, "%Y%m%dT%H%M%SZ"))
    except ValueError:
        return None


def _time_of(values: Mapping[bytes, bytes]) -> tuple[str, float]:
    """The time of a request in the form of x-amz-date, and in Unix seconds: that header's, else that of Date."""
    given = values.get(b"x-amz-date")
    if given is None:
        given = values.get(b"date", b"")
        try:
            at = parse_http_date(given.decode("latin-1"))
        except MalformedDate:
            pass
        else:
            if 0 <= at <= _LAST_SECOND:
                return amz_date(int(at)), at
    timestamp = given.decode("latin-1")
    seconds = _seconds_of(timestamp)
    if seconds is None or seconds < 0:
        raise S3Fault(Code.ACCESS_DENIED, "A signed request needs a valid date in x-amz-date or Date.")
    return timestamp, float(seconds)


def _check_expiry(timestamp: str, expires: str, now: float, rules: Rules) -> None:
    if not _NUMBER.match(expires):
        raise _bad_query("X-Amz-Expires must be a number of seconds.")
    if not 0 <= int(expires) <= MAX_EXPIRES_S:
        # 403 as for one that has expired: what the public conformance suites ask for. AWS itself answers 400 here.
        raise S3Fault(
            Code.ACCESS_DENIED,
            f"X-Amz-Expires must be from 1 to {MAX_EXPIRES_S} seconds.",
            extra=(("X-Amz-Expires", expires),),
        )
    begin = _seconds_of(timestamp)
    if begin is None:
        raise _bad_query("X-Amz-Date is no date.")
    if now < begin - rules.max_skew_s:
        raise S3Fault(
            Code.ACCESS_DENIED,
            "The request is not valid yet.",
            extra=(("X-Amz-Date", timestamp), ("ServerTime", iso_time(now))),
        )
    end = begin + int(expires)
    if now > end or not int(expires):
        raise S3Fault(
            Code.ACCESS_DENIED,
            "The request has expired.",
            extra=(("X-Amz-Expires", expires), ("Expires", iso_time(end)), ("ServerTime", iso_time(now))),
        )


def _presigned_payload(
    given: Mapping[str, str], values: Mapping[bytes, bytes], names: tuple[bytes, ...]
) -> tuple[str, Payload]:
    """What the canonical request has for the payload, and what that declares."""
    header = values.get(b"x-amz-content-sha256")
    in_query = given.get("X-Amz-Content-Sha256")
    if (
        header is not None
        and b"x-amz-content-sha256" not in names
        and header.decode("latin-1") != (in_query or UNSIGNED_PAYLOAD)
    ):
        raise S3Fault(
            Code.ACCESS_DENIED,
            "x-amz-content-sha256 was sent with a presigned URL that does not sign it.",
            extra=(("HeadersNotSigned", "x-amz-content-sha256"),),
        )
    declared = header.decode("latin-1") if header is not None else in_query or UNSIGNED_PAYLOAD
    named = declared.encode("latin-1", "replace")
    return declared, payload_declared({**values, b"x-amz-content-sha256": named})


def _malformed(detail: str) -> S3Fault:
    return S3Fault(Code.AUTHORIZATION_HEADER_MALFORMED, f"The Authorization header is malformed: {detail}")


def _bad_query(detail: str) -> S3Fault:
    return S3Fault(Code.AUTHORIZATION_QUERY_PARAMETERS_ERROR, f"The presigned URL is malformed: {detail}")
