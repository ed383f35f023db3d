"""The headers of an upload that are stored with the object, as Riak CS gets them; what cannot be kept is refused.

Riak CS drops Content-Language and takes server-side encryption, object lock, redirects and storage classes without a
word (get-metadata, get-sse, head-website-redirect, get-storage-class).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from controlplane.s3.aws_chunked import stored_encoding
from controlplane.s3.checksums import Checksum
from controlplane.s3.fault import Code, S3Fault
from controlplane.s3.own_metadata import OWN_METADATA

_KEPT: Final = frozenset({b"content-type", b"content-disposition", b"cache-control", b"expires"})
_META: Final = b"x-amz-meta-"
_MOST_METADATA: Final = 2048
_OWN: Final = OWN_METADATA.encode()
_LANGUAGE: Final = OWN_METADATA + "content-language"
_NOT_SERVED: Final = (
    b"x-amz-server-side-encryption", b"x-amz-object-lock-", b"x-amz-website-redirect-location", b"x-amz-write-offset",
)  # fmt: skip


def refuse_unserved(fields: Iterable[tuple[bytes, bytes]]) -> None:
    """Raises S3Fault NotImplemented, InvalidStorageClass for headers whose promise would not be kept."""
    for name, value in fields:
        if name.startswith(b"x-amz-"):
            _refuse(name, value)


def _refuse(name: bytes, value: bytes) -> None:
    if name.startswith(_NOT_SERVED):
        header = name.decode("ascii", "replace")
        raise S3Fault(Code.NOT_IMPLEMENTED, f"The store does not have what {header} asks for.")
    if name == b"x-amz-storage-class" and value.upper() != b"STANDARD":
        raise S3Fault(Code.INVALID_STORAGE_CLASS, "The only storage class here is STANDARD.")


def stored_headers(fields: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Raises S3Fault."""
    refuse_unserved(fields)
    return _stored(fields)


def stored_form_headers(given: Mapping[str, str]) -> dict[str, str]:
    """The same of the fields of a form, which are named like headers."""
    fields = [(name.lower().encode("ascii", "replace"), value.encode()) for name, value in given.items()]
    for name, value in fields:
        if any(byte < 32 or byte == 127 for byte in value) and name.startswith(
            (b"x-amz-meta-", b"content-", b"cache-", b"exp")
        ):
            raise S3Fault(Code.INVALID_ARGUMENT, f"The field {name.decode()} has a control character.")
        _refuse(name, value)
    return _stored(fields)


def _stored(fields: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    headers: dict[str, str] = {}
    size = 0
    for name, value in fields:
        if name.startswith(_META):
            if name.startswith(_OWN):
                raise S3Fault(Code.INVALID_ARGUMENT, f"User metadata named {OWN_METADATA}* is the gateway's own.")
            text = value.decode("utf-8", "surrogateescape")
            known = headers.get(name.decode("ascii"))
            headers[name.decode("ascii")] = text if known is None else f"{known},{text}"
            size += len(name) - len(_META) + len(value)
        elif name in _KEPT:
            headers[name.decode("ascii")] = value.decode("utf-8", "surrogateescape")
        elif name == b"content-encoding":
            # aws-chunked is how the body came, not what it is.
            text = stored_encoding(value.decode("latin-1"))
            if text:
                headers["content-encoding"] = text
        elif name == b"content-language":
            headers[_LANGUAGE] = value.decode("utf-8", "surrogateescape")
    if size > _MOST_METADATA:
        raise S3Fault(Code.METADATA_TOO_LARGE, extra=(("Size", str(size)), ("MaxSizeAllowed", str(_MOST_METADATA))))
    return headers


def own_checksum(checksum: Checksum | None, kind: str = "FULL_OBJECT") -> dict[str, str]:
    """What is kept beside the object, so that a reader can ask for it with x-amz-checksum-mode."""
    if checksum is None:
        return {}
    name = checksum.algorithm.header.removeprefix("x-amz-")
    return {OWN_METADATA + name: checksum.text, OWN_METADATA + "checksum-type": kind}


def carried_over(found: Mapping[str, str]) -> dict[str, str]:
    """The stored headers of an existing object, for a copy of it. They come from Riak CS: nothing is refused. Checksums
    are made anew of what is copied, and tags have a record."""
    kept = ("content-type", "content-disposition", "cache-control", "expires", "content-encoding", _LANGUAGE)
    return {
        name: value
        for name, value in found.items()
        if name in kept or (name.startswith("x-amz-meta-") and not name.startswith(OWN_METADATA))
    }
