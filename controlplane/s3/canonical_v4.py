"""What SigV4 signs of a request: the strings to sign, in every form that clients make of the same request.

Source: AWS, "Authenticating Requests (AWS Signature Version 4)". Text stands for bytes (Latin-1).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from itertools import repeat
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from controlplane.s3.claim import Scope
from controlplane.s3.sigv4 import canonical_request, string_to_sign

_PLAIN_PATH: Final = re.compile(r"[A-Za-z0-9/._~-]*\Z", re.ASCII)
_BLANKS: Final = re.compile(r"[ \t]+")


def strings_to_sign(
    method: str,
    path: str,
    parts: tuple[tuple[str, str], ...],
    values: Mapping[bytes, bytes],
    names: tuple[bytes, ...],
    joined_names: bytes,
    declared: bytes,
    timestamp: str,
    scope: Scope,
) -> tuple[tuple[str, ...], bytes]:
    """The strings to sign, the likeliest first, and the canonical request behind that one."""
    scope_text = scope.text
    signed = _template_of(names) % tuple(map(values.get, names, repeat(b"")))
    if not parts and not _has_odd_blanks(signed) and _PLAIN_PATH.match(path):  # as nearly all are
        request = b"%b\n%b\n\n%b\n%b\n%b" % (method.encode(), path.encode(), signed, joined_names, declared)
        return (string_to_sign(timestamp, scope_text, request),), request
    lines = [(name.decode(), values.get(name, b"").strip(b" \t").decode("latin-1")) for name in names]
    header_forms = [lines]
    for _, text in lines:
        if "  " in text or "\t" in text:
            header_forms.insert(0, [(name, _BLANKS.sub(" ", value)) for name, value in lines])
            break
    requests = [
        canonical_request(
            method, path_form, query_form, header_form, joined_names.decode("latin-1"), declared.decode("latin-1")
        ).encode("latin-1")
        for header_form in header_forms
        for path_form in _path_forms(path)
        for query_form in _query_forms(parts)
    ]
    return tuple([string_to_sign(timestamp, scope_text, each) for each in requests]), requests[0]


def _has_odd_blanks(lines: bytes) -> bool:
    """Whether lines of headers have what is not signed as it was sent, or may not be."""
    return b"  " in lines or b": " in lines or b" \n" in lines or b"\t" in lines


@lru_cache(maxsize=256)
def _template_of(names: tuple[bytes, ...]) -> bytes:
    """The lines of these headers, with places for their values."""
    return b"".join([b"%b:%%b\n" % name.replace(b"%", b"%%") for name in names])


def _path_forms(path: str) -> tuple[str, ...]:
    """As sent; and as S3's encoding of the same bytes, for clients that send more of it bare than they sign."""
    if _PLAIN_PATH.match(path):
        return (path,)
    encoded = quote(unquote_to_bytes(path), safe="/~")
    return (path,) if encoded == path else (path, encoded)


def query_parts(raw_query: str) -> tuple[tuple[str, str], ...]:
    """Names and values as sent."""
    if not raw_query:
        return ()
    split = [part.partition("=") for part in raw_query.split("&") if part]
    return tuple((name, value) for name, _, value in split)


def _query_forms(parts: tuple[tuple[str, str], ...]) -> tuple[str, ...]:
    """Re-encoded and sorted; and as sent and sorted, for clients that do not encode what they sign."""
    if not parts:
        return ("",)
    encoded = sorted((_encoded(name), _encoded(value)) for name, value in parts)
    first = "&".join([f"{name}={value}" for name, value in encoded])
    second = "&".join([f"{name}={value}" for name, value in sorted(parts)])
    return (first,) if first == second else (first, second)


def _encoded(text: str) -> str:
    if text.isalnum():
        return text
    return quote(unquote_to_bytes(text.replace("+", " ")), safe="~")
