"""Which bucket and key a request is about: path style, or the bucket as a label in front of a root host.

Paths are decoded once, as UTF-8, and never normalised: `+`, `//`, `.` and `..` are part of a key.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final, NamedTuple
from urllib.parse import unquote, unquote_to_bytes

from controlplane.s3.fault import Code, S3Fault
from controlplane.s3.operation import Level
from controlplane.s3.uri import Query

MAX_KEY_BYTES: Final = 1024

_NEW_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]\Z", re.ASCII)
_IP_ADDRESS: Final = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}\Z", re.ASCII)
_NO_BUCKET: Final = re.compile(r"[^\x21-\x7e]|[/\\?#%]")
_ESCAPE_BROKEN: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")


class Address(NamedTuple):
    """What a request is about, decoded. `bucket` and `key` are empty where the request names none."""

    bucket: str
    key: str
    in_host: bool
    """The bucket came from the Host field: SigV2 signs it in front of the path then."""

    @property
    def level(self) -> Level:
        if not self.bucket:
            return Level.SERVICE
        return Level.OBJECT if self.key else Level.BUCKET


def locate(host: str, path: str, root_hosts: Collection[str]) -> Address:
    """The address of a request. `host` is the Host field, `path` as sent; `root_hosts` are lower-case, without ports.

    A host that is no root host and below none is taken for path style (addresses, names of machines).
    Raises S3Fault: InvalidURI, InvalidBucketName, KeyTooLongError.
    """
    in_host = bucket_of_host(host, root_hosts)
    if in_host is not None:
        bucket, key = in_host, decode_path(path[1:])
    else:
        raw_bucket, _, raw_key = path[1:].partition("/")
        bucket, key = decode_path(raw_bucket), decode_path(raw_key)
        if not bucket and key:
            raise S3Fault(Code.INVALID_BUCKET_NAME, extra=(("BucketName", ""),))
    if bucket and (len(bucket) > 255 or _NO_BUCKET.search(bucket) or bucket in (".", "..")):
        raise S3Fault(Code.INVALID_BUCKET_NAME, extra=(("BucketName", bucket),))
    if len(key) * 4 > MAX_KEY_BYTES and len(key.encode()) > MAX_KEY_BYTES:
        raise S3Fault(
            Code.KEY_TOO_LONG, extra=(("Size", str(len(key.encode()))), ("MaxSizeAllowed", str(MAX_KEY_BYTES)))
        )
    return Address(bucket, key, in_host is not None)


def bucket_of_host(host: str, root_hosts: Collection[str]) -> str | None:
    """The labels in front of a root host; None for path style."""
    if not root_hosts:
        return None
    name = host.lower()
    if ":" in name and not name.endswith("]"):
        name = name.rpartition(":")[0]
    name = name.removesuffix(".")
    if name in root_hosts:
        return None
    below = [root for root in root_hosts if name.endswith("." + root)]
    return name[: -len(max(below, key=len)) - 1] if below else None


def decode_path(raw: str) -> str:
    """Percent-decoded; `+` stays. Raises S3Fault InvalidURI for broken escapes and for what is no UTF-8."""
    if "%" not in raw:
        return raw
    if _ESCAPE_BROKEN.search(raw):
        raise S3Fault(Code.INVALID_URI)
    try:
        return unquote_to_bytes(raw).decode()
    except UnicodeDecodeError as error:
        raise S3Fault(Code.INVALID_URI) from error


def decode_query(raw: str) -> Query:
    """Names and values, decoded, in their order; a name without `=` has the value "". `+` is a space.

    Raises S3Fault InvalidURI for broken escapes and for what is no UTF-8.
    """
    if not raw:
        return ()
    if _ESCAPE_BROKEN.search(raw):
        raise S3Fault(Code.INVALID_URI, "The query is not valid percent-encoded UTF-8.")
    pairs = []
    try:
        for part in raw.split("&"):
            if part:
                name, _, value = part.partition("=")
                pairs.append((_decoded(name), _decoded(value)))
    except UnicodeDecodeError as error:
        raise S3Fault(Code.INVALID_URI, "The query is not valid percent-encoded UTF-8.") from error
    return tuple(pairs)


def _decoded(text: str) -> str:
    if "+" in text:
        text = text.replace("+", " ")
    return unquote(text, errors="strict") if "%" in text else text


def check_new_bucket_name(name: str) -> None:
    """Refuse what S3 does not let be created: 3 to 63 lower-case letters, digits, dots and hyphens, no IP address.

    Raises S3Fault InvalidBucketName. Older buckets of Riak CS may have other names and stay reachable.
    """
    odd = ".." in name or ".-" in name or "-." in name or name.startswith("xn--") or name.endswith("-s3alias")
    if _NEW_BUCKET.match(name) is None or _IP_ADDRESS.match(name) or odd:
        raise S3Fault(Code.INVALID_BUCKET_NAME, extra=(("BucketName", name),))
