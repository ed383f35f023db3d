"""The condition keys that bucket policies may use, and what a request has for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from controlplane.s3.access.conditions import Context
from controlplane.s3.access.principals import Caller
from controlplane.s3.sigv4 import amz_date

_HEADERS: Final = (
    "x-amz-acl", "x-amz-copy-source", "x-amz-metadata-directive", "x-amz-server-side-encryption",
    "x-amz-server-side-encryption-aws-kms-key-id", "x-amz-server-side-encryption-customer-algorithm",
    "x-amz-storage-class", "x-amz-website-redirect-location", "x-amz-grant-read", "x-amz-grant-write",
    "x-amz-grant-read-acp", "x-amz-grant-write-acp", "x-amz-grant-full-control", "x-amz-content-sha256",
    "x-amz-object-ownership", "x-amz-object-lock-mode", "if-match", "if-none-match",
)  # fmt: skip
_QUERY: Final = ("prefix", "delimiter", "max-keys")

KEYS: Final = frozenset(
    {f"s3:{name}" for name in (*_HEADERS, *_QUERY)}
    | {
        "s3:authtype", "s3:signatureage", "s3:signatureversion", "s3:versionid", "s3:locationconstraint",
        "s3:resourceaccount", "s3:tlsversion", "s3:requestobjecttagkeys", "s3:object-lock-mode",
        "s3:object-lock-legal-hold", "s3:object-lock-retain-until-date", "s3:object-lock-remaining-retention-days",
        "aws:currenttime", "aws:epochtime", "aws:multifactorauthage", "aws:multifactorauthpresent",
        "aws:principalaccount", "aws:principalarn", "aws:principalorgid", "aws:principaltype",
        "aws:principalisawsservice", "aws:referer", "aws:requestedregion", "aws:securetransport", "aws:sourceaccount",
        "aws:sourcearn", "aws:sourceip", "aws:sourcevpc", "aws:sourcevpce", "aws:tokenissuetime", "aws:useragent",
        "aws:userid", "aws:username", "aws:viaawsservice",
    }
)  # fmt: skip
"""Lower-case. Keys that no request here has (a VPC, an organisation) are valid: they are absent, as for any request
from outside of AWS."""

_FAMILIES: Final = ("s3:existingobjecttag/", "s3:requestobjecttag/", "aws:principaltag/", "aws:requesttag/")


def is_condition_key(key: str) -> bool:
    """Keys are not case-sensitive; a tag's name behind the slash is what the family's key needs."""
    lower = key.lower()
    return lower in KEYS or any(lower.startswith(family) and len(lower) > len(family) for family in _FAMILIES)


def context_of(
    caller: Caller,
    headers: Mapping[str, str],
    query: Iterable[tuple[str, str]],
    *,
    source_ip: str,
    secure: bool,
    now: float,
    auth_type: str = "",
    signature_version: str = "",
    existing_tags: Mapping[str, str] | None = None,
    request_tags: Mapping[str, str] | None = None,
) -> Context:
    """What a request has for the condition keys.

    `headers` with lower-case names, `query` decoded; `source_ip` of the client, not of a proxy in between (empty:
    it cannot be told); `secure`
    when the client came by TLS; `auth_type` REST-HEADER, REST-QUERY-STRING or POST, `signature_version` AWS or
    AWS4-HMAC-SHA256, both empty for anonymous requests. `existing_tags` are needed only when the bucket's policy asks
    for them (`policy_match.asks_for_existing_tags`). Case does not count in a tag's name, as in all keys.
    """
    values: dict[str, tuple[str, ...]] = {
        "aws:securetransport": ("true" if secure else "false",),
        "aws:currenttime": (_iso(now),),
        "aws:epochtime": (str(int(now)),),
        "aws:principaltype": ("Anonymous" if caller.anonymous else "User",),
    }
    for key, text in (
        ("aws:sourceip", source_ip),
        ("aws:userid", caller.id or ""),
        ("aws:username", caller.name),
        ("aws:principalarn", caller.arn),
        ("aws:principalaccount", caller.account),
        ("aws:useragent", headers.get("user-agent", "")),
        ("aws:referer", headers.get("referer", "")),
        ("s3:authtype", auth_type),
        ("s3:signatureversion", signature_version),
    ):
        if text:
            values[key] = (text,)
    for name in _HEADERS:
        if name in headers:
            values[f"s3:{name}"] = (headers[name],)
    for name, value in query:
        if name in _QUERY:
            values[f"s3:{name}"] = (value,)
        elif name == "versionId":
            values["s3:versionid"] = (value,)
    for family, tags in (("existingobjecttag", existing_tags), ("requestobjecttag", request_tags)):
        for name, value in (tags or {}).items():
            values[f"s3:{family}/{name.lower()}"] = (value,)
    if request_tags:
        values["s3:requestobjecttagkeys"] = tuple(request_tags)
    return Context(values)


def _iso(now: float) -> str:
    stamp = amz_date(int(now))
    return f"{stamp[:4]}-{stamp[4:6]}-{stamp[6:11]}:{stamp[11:13]}:{stamp[13:]}"
