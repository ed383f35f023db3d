"""SigV2 as requests carry it: in the Authorization header, or in the query of a presigned URL.

Source: AWS, "Signing and authenticating REST requests (AWS signature version 2)". Strings to sign are made of
characters that stand for bytes (Latin-1), for header values and paths are bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from controlplane.s3.claim import (
    ANY_REGION,
    Claim,
    Payload,
    Rules,
    Scheme,
    hoisted_fields,
    iso_time,
    payload_declared,
    skewed,
)
from controlplane.s3.dates import MalformedDate, parse_http_date, parse_timestamp
from controlplane.s3.fault import Code, S3Fault
from controlplane.s3.sigv2 import SIGNED_QUERY
from controlplane.s3.uri import Query, form_decoded

_AUTHORIZATION: Final = re.compile(rb"AWS ([!-9;-~]+):([A-Za-z0-9+/]{27}=)\Z")
_SIGNATURE: Final = re.compile(r"[A-Za-z0-9+/]{27}=\Z", re.ASCII)
_EXPIRES: Final = re.compile(r"[0-9]{1,11}\Z", re.ASCII)
_BUCKET_PATH: Final = re.compile(r"/[^/]+/?\Z")
_QUERY_OWN: Final = ("AWSAccessKeyId", "Expires", "Signature")
_HEADERS_IN_QUERY: Final = frozenset({"content-type", "content-md5"})


def read_v2_header(
    method: str,
    path: str,
    raw_query: str,
    values: Mapping[bytes, bytes],
    now: float,
    rules: Rules = ANY_REGION,
) -> Claim:
    """The claim of the Authorization header in `values` (joined fields). `path` has the bucket. Raises S3Fault."""
    matched = _AUTHORIZATION.match(values[b"authorization"])
    if matched is None:
        raise S3Fault(
            Code.INVALID_ARGUMENT,
            "The Authorization header is malformed: it must read AWS <access key>:<base64 of 20 bytes>.",
            extra=(("ArgumentName", "Authorization"), ("ArgumentValue", values[b"authorization"].decode("latin-1"))),
        )
    date = values.get(b"date", b"").decode("latin-1")
    amz = values.get(b"x-amz-date")
    given = date if amz is None else amz.decode("latin-1")
    at = _seconds_of(given)
    if abs(now - at) > rules.max_skew_s:
        raise skewed(given, now, rules)
    # With x-amz-date the Date line is empty. Riak CS wants its value there too, and its clients learned that; others
    # sign the Date header beside it. The time that counts is signed in each form.
    date_lines = (date,) if amz is None else ("", given, date)
    return _claim(
        Scheme.V2_HEADER, matched[1].decode(), matched[2].decode(), method, path, raw_query, values, date_lines
    )


def read_v2_query(
    method: str,
    path: str,
    raw_query: str,
    query: Query,
    values: Mapping[bytes, bytes],
    now: float,
) -> Claim:
    """The claim of a presigned URL. `query` is `raw_query` decoded, `path` has the bucket. Raises S3Fault."""
    for name in _QUERY_OWN:
        count = sum(1 for other, _ in query if other == name)
        if count != 1:
            raise S3Fault(
                Code.ACCESS_DENIED,
                f"A presigned URL has {', '.join(_QUERY_OWN)}, each once; {name} is there {count} times.",
            )
    given = dict(query)
    if _SIGNATURE.match(given["Signature"]) is None:
        raise S3Fault(Code.SIGNATURE_DOES_NOT_MATCH, "The Signature of the presigned URL is no base64 of 20 bytes.")
    expires = given["Expires"]
    if _EXPIRES.match(expires) is None:
        raise S3Fault(Code.ACCESS_DENIED, "Expires must be a date in Unix seconds.")
    if now > int(expires):
        raise S3Fault(
            Code.ACCESS_DENIED,
            "The request has expired.",
            extra=(("Expires", expires), ("ServerTime", iso_time(now))),
        )
    # botocore moves the headers that it signs into the query; S3 takes them from there.
    hoisted = hoisted_fields(query, besides=_HEADERS_IN_QUERY)
    merged = dict(values)
    for field, value in hoisted:
        if field[:6] == b"x-amz-" and merged.get(field, value) != value:
            raise S3Fault(
                Code.INVALID_ARGUMENT,
                f"{field.decode()} is in the query and in the headers, with different values.",
                extra=(("ArgumentName", field.decode()), ("ArgumentValue", value.decode())),
            )
        merged.setdefault(field, value)
    hoisted = tuple((field, value) for field, value in hoisted if field not in values)
    access_key = given["AWSAccessKeyId"]
    if not access_key.isascii():
        raise S3Fault(Code.INVALID_ACCESS_KEY_ID)
    claim = _claim(Scheme.V2_QUERY, access_key, given["Signature"], method, path, raw_query, merged, (expires,))
    return Claim(
        claim.scheme, claim.access_key, claim.signature, claim.payload, claim.strings, claim.session_token, hoisted
    )


def _claim(
    scheme: Scheme,
    access_key: str,
    signature: str,
    method: str,
    path: str,
    raw_query: str,
    values: Mapping[bytes, bytes],
    date_lines: tuple[str, ...],
) -> Claim:
    token = values.get(b"x-amz-security-token")
    return Claim(
        scheme,
        access_key,
        signature,
        _payload(values),
        _strings(method, path, raw_query, values, date_lines),
        session_token=None if token is None else token.decode("latin-1"),
    )


def _payload(values: Mapping[bytes, bytes]) -> Payload:
    """SigV2 does not sign the body, but what is declared about it is verified all the same."""
    payload = payload_declared(values)
    if payload.has_signed_chunks:
        raise S3Fault(Code.INVALID_REQUEST, "Chunks are signed by SigV4 only; this request is signed by SigV2.")
    return payload


def _strings(
    method: str, path: str, raw_query: str, values: Mapping[bytes, bytes], date_lines: tuple[str, ...]
) -> tuple[str, ...]:
    md5, kind = values.get(b"content-md5", b""), values.get(b"content-type", b"")
    amz = "".join(
        f"{name.decode('latin-1')}:{values[name].strip().decode('latin-1')}\n"
        for name in sorted(values)
        if name[:6] == b"x-amz-"
    )
    head = f"{method}\n{md5.strip().decode('latin-1')}\n{kind.strip().decode('latin-1')}\n"
    forms = [f"{head}{date}\n{amz}{resource}" for date in date_lines for resource in _resources(path, raw_query)]
    return tuple(dict.fromkeys(forms))


def _resources(path: str, raw_query: str) -> tuple[str, ...]:
    """The path as sent and as S3 encodes it, each with the sub-resources written in the ways that clients do.

    A bucket's path may be signed with or without a slash at its end, whichever was sent: botocore sends none and signs
    one.
    """
    encoded = quote(unquote_to_bytes(path), safe="/~")
    paths: tuple[str, ...] = (path,) if encoded == path else (path, encoded)
    if _BUCKET_PATH.match(path):
        paths += tuple(form[:-1] if form.endswith("/") else form + "/" for form in paths)
    if not raw_query:
        return paths
    signed = sorted(
        (form_decoded(name), equals, form_decoded(value))
        for name, equals, value in (part.partition("=") for part in raw_query.split("&"))
        if form_decoded(name) in SIGNED_QUERY
    )
    as_sent = "&".join(f"{name}{equals}{value}" for name, equals, value in signed)
    bare = "&".join(f"{name}={value}" if value else name for name, _, value in signed)
    queries = (as_sent,) if as_sent == bare else (as_sent, bare)
    return tuple(f"{path}?{query}" if query else path for path in paths for query in queries)


def _seconds_of(date: str) -> float:
    for parse in (parse_http_date, parse_timestamp):
        try:
            at = parse(date)
        except MalformedDate:
            continue
        if at >= 0:
            return at
    raise S3Fault(Code.ACCESS_DENIED, "A signed request needs a valid date in x-amz-date or Date.")
