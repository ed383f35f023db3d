"""AWS Signature Version 2 for S3 (HMAC-SHA1), for the side that signs and the side that verifies.

The date goes into the Date header and never into x-amz-date: Riak CS refuses x-amz-date unless its value is also in the
Date line of the string to sign (recordings auth-v2-x-amz-date, auth-v2-x-amz-date-repeated).
"""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Iterable, Mapping
from email.utils import formatdate
from functools import lru_cache
from hashlib import sha1
from typing import TYPE_CHECKING, Final

from controlplane.s3.uri import encode_path

if TYPE_CHECKING:
    from hashlib import _Hash as HASH

_BLOCK_BYTES: Final = 64

SIGNED_QUERY: Final = frozenset(
    {
        "accelerate", "acl", "analytics", "cors", "defaultObjectAcl", "delete", "inventory", "lifecycle", "location",
        "logging", "metrics", "notification", "object-lock", "partNumber", "policy", "replication", "requestPayment",
        "response-cache-control", "response-content-disposition", "response-content-encoding",
        "response-content-language", "response-content-type", "response-expires", "restore", "select", "select-type",
        "storageClass", "tagging", "torrent", "uploadId", "uploads", "versionId", "versioning", "versions", "website",
    }
)  # fmt: skip
"""Query parameters that belong to the resource; all others are not signed."""


@lru_cache(maxsize=8)
def http_date(second: int) -> str:
    """Unix seconds as an HTTP date."""
    return formatdate(second, usegmt=True)


def canonical_resource(path: str, query: Iterable[tuple[str, str]]) -> str:
    """`path` is encoded as on the wire, bucket included; query values are signed decoded."""
    parts = sorted((name, value) for name, value in query if name in SIGNED_QUERY)
    if not parts:
        return path
    return path + "?" + "&".join(f"{name}={value}" if value else name for name, value in parts)


def string_to_sign(method: str, resource: str, headers: Mapping[str, str], date: str) -> str:
    """`headers` have lower-case names; `date` is the Date header's value (or Expires when presigned)."""
    amz = "".join(f"{name}:{headers[name].strip()}\n" for name in sorted(headers) if name.startswith("x-amz-"))
    md5, kind = headers.get("content-md5", ""), headers.get("content-type", "")
    return f"{method}\n{md5}\n{kind}\n{date}\n{amz}{resource}"


def signature(secret_key: str, text: str) -> str:
    return signature_of(secret_key, text.encode())


@lru_cache(maxsize=1024)
def _begun_hmac(secret_key: str) -> tuple[HASH, HASH]:
    """Inner and outer hash of HMAC-SHA1 (RFC 2104) that took in the key; to be copied. Setting up an HMAC anew for
    every signature costs more than the signature."""
    key = secret_key.encode()
    block = (sha1(key, usedforsecurity=False).digest() if len(key) > _BLOCK_BYTES else key).ljust(_BLOCK_BYTES, b"\0")
    inner, outer = bytes([byte ^ 0x36 for byte in block]), bytes([byte ^ 0x5C for byte in block])
    return sha1(inner, usedforsecurity=False), sha1(outer, usedforsecurity=False)


def signature_of(secret_key: str, text: bytes) -> str:
    begun, outer = _begun_hmac(secret_key)
    inner = begun.copy()
    inner.update(text)
    outer = outer.copy()
    outer.update(inner.digest())
    return b2a_base64(outer.digest(), newline=False).decode()


class SignerV2:
    """Signs requests with one key pair."""

    __slots__ = ("_access_key", "_secret_key")

    def __init__(self, access_key: str, secret_key: str) -> None:
        self._access_key = access_key
        self._secret_key = secret_key

    def sign(
        self,
        method: str,
        path: str,
        query: Iterable[tuple[str, str]],
        headers: Mapping[str, str],
        payload_sha256: str,  # noqa: ARG002 - version 2 does not cover the payload; the signers have one shape
        now: float,
    ) -> dict[str, str]:
        """The headers to send in place of `headers`: those, date and authorization. `path` is decoded."""
        sent = {**headers, "date": http_date(int(now))}
        text = string_to_sign(method, canonical_resource(encode_path(path), query), sent, sent["date"])
        sent["authorization"] = f"AWS {self._access_key}:{signature(self._secret_key, text)}"
        return sent
