"""The checksums of S3: which a request asks to be verified, taken up as the bytes come, and compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from controlplane.s3.claim import Fields, Payload


class Algorithm(Enum):
    """The value is the name in XML and in x-amz-checksum-algorithm."""

    CRC32 = "CRC32"
    CRC32C = "CRC32C"
    CRC64NVME = "CRC64NVME"
    SHA1 = "SHA1"
    SHA256 = "SHA256"

    @property
    def header(self) -> str:
        """x-amz-checksum-crc32, ..."""
        return "x-amz-checksum-" + self.value.lower()

    @property
    def size(self) -> int:
        """Bytes of a digest."""
        raise NotImplementedError


class ChecksumType(Enum):
    COMPOSITE = "COMPOSITE"
    """A checksum of the parts' checksums, written with `-<parts>`."""
    FULL_OBJECT = "FULL_OBJECT"


@dataclass(frozen=True, slots=True)
class Checksum:
    algorithm: Algorithm
    digest: bytes

    @property
    def text(self) -> str:
        """As in headers and XML: base64."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Expected:
    """What the body of a request must hash to."""

    md5: bytes | None
    """Content-MD5."""
    sha256: str
    """x-amz-content-sha256 in hex; empty: not declared."""
    checksum: Checksum | None
    """Given in a header."""
    algorithm: Algorithm | None
    """What to compute and report: that of `checksum`, of the trailer announced, or x-amz-sdk-checksum-algorithm."""
    in_trailer: bool
    """The value of `algorithm` comes in the trailer."""


def expected_of(fields: Fields, payload: Payload) -> Expected:
    """What the headers of an upload promise. Raises S3Fault: InvalidDigest (Content-MD5), InvalidRequest (unknown or
    conflicting algorithms, malformed values, several checksums, a trailer that is no checksum)."""
    raise NotImplementedError


class BodyHasher:
    """Takes up a body and compares it at the end with all that was promised. Always computes the MD5 (the ETag)."""

    def __init__(self, expected: Expected) -> None:
        raise NotImplementedError

    def update(self, data: bytes) -> None:
        raise NotImplementedError

    def finish(self, trailers: Mapping[str, str]) -> HashedBody:
        """`trailers` of the aws-chunked body. Raises S3Fault: BadDigest, XAmzContentSHA256Mismatch,
        MalformedTrailerError, InvalidRequest."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class HashedBody:
    size: int
    md5: str
    """In hex."""
    checksum: Checksum | None
    """Proved equal to the one given, where one was given."""


def composite(parts: Sequence[Checksum]) -> str:
    """The checksum of checksums of an object of these parts: `<base64>-<parts>`."""
    raise NotImplementedError


def full_object(parts: Sequence[tuple[Checksum, int]]) -> Checksum:
    """The checksum of the whole object from those of its parts and their sizes; only CRCs can be combined."""
    raise NotImplementedError
