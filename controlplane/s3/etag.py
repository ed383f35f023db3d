"""ETags: the MD5 of objects put in one part, `<md5 of the parts' MD5s>-<parts>` for multipart."""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import md5

_MD5 = re.compile(r"[0-9a-f]{32}\Z")
_MULTIPART = re.compile(r"[0-9a-f]{32}-[1-9][0-9]{0,4}\Z")


def unquote_etag(text: str) -> str:
    """An ETag without its quotes and without the mark of a weak one."""
    return text.strip().removeprefix("W/").strip('"')


def is_md5(etag: str) -> bool:
    """Whether it can be the MD5 of an object's bytes (it is not for objects encrypted with a customer's or KMS key)."""
    return _MD5.match(etag) is not None


def is_multipart(etag: str) -> bool:
    return _MULTIPART.match(etag) is not None


def multipart_etag(part_md5s: Sequence[bytes]) -> str:
    """The ETag that S3 gives to an object of these parts (raw 16-byte MD5s, in order)."""
    return f"{md5(b''.join(part_md5s)).hexdigest()}-{len(part_md5s)}"
