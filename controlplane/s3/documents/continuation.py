"""Continuation tokens of ListObjectsV2: opaque, self-contained (any gateway can go on), bound to a listing."""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import sha256
from typing import Final

from controlplane.s3.documents.parameters import invalid_argument

_VERSION: Final = b"\x01"
_SEAL: Final = 12


def _seal(after: bytes, bucket: str, prefix: str, delimiter: str) -> bytes:
    """Not a secret: it tells a token that belongs to this listing from any other text. A forged one gives away nothing
    that start-after would not."""
    parts = [_VERSION, after, *(part.encode(errors="surrogatepass") for part in (bucket, prefix, delimiter))]
    return sha256(b"".join(len(part).to_bytes(4, "big") + part for part in parts)).digest()[:_SEAL]


def made_token(after: str, bucket: str, prefix: str, delimiter: str) -> str:
    """The token of the page that begins after this key or common prefix."""
    raw = after.encode()
    return urlsafe_b64encode(_VERSION + _seal(raw, bucket, prefix, delimiter) + raw).decode().rstrip("=")


def read_token(token: str, bucket: str, prefix: str, delimiter: str) -> str:
    """Where the page begins. Raises InvalidArgument for what was not made for this bucket, prefix and delimiter."""
    try:
        raw = urlsafe_b64decode(token.encode("ascii") + b"=" * (-len(token) % 4))
        after = raw[1 + _SEAL :].decode()
    except (ValueError, binascii.Error) as error:
        raise _incorrect(token) from error
    if made_token(after, bucket, prefix, delimiter) != token:
        raise _incorrect(token)
    return after


def _incorrect(token: str) -> Exception:
    return invalid_argument("continuation-token", token, "The continuation token provided is incorrect")
