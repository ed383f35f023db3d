"""The checksums of S3: which a request asks to be verified, taken up as the bytes come, and compared.

Source: AWS, "Checking object integrity in Amazon S3". Measured on one core: CRC32 by zlib 4 GB/s, CRC32C and CRC64NVME
by awscrt 22 GB/s each; MD5 (0.7 GB/s) is what an upload costs.
"""

from __future__ import annotations

import zlib
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from hashlib import md5, sha1, sha256, sha512
from typing import Final, NoReturn, Protocol

from awscrt import checksums as crt

from controlplane.s3.claim import Fields, Payload, PayloadKind, joined
from controlplane.s3.fault import Code, S3Fault


class Algorithm(Enum):
    """The value is the name in XML and in x-amz-checksum-algorithm."""

    CRC32 = "CRC32"
    CRC32C = "CRC32C"
    CRC64NVME = "CRC64NVME"
    SHA1 = "SHA1"
    SHA256 = "SHA256"
    SHA512 = "SHA512"
    MD5 = "MD5"
    XXHASH64 = "XXHASH64"
    XXHASH3 = "XXHASH3"
    XXHASH128 = "XXHASH128"

    @property
    def header(self) -> str:
        """x-amz-checksum-crc32, ..."""
        return "x-amz-checksum-" + self.value.lower()

    @property
    def size(self) -> int:
        """Bytes of a digest."""
        return _SIZES[self]

    @property
    def joins(self) -> bool:
        """The checksum of a whole follows from those of its parts."""
        return self in _COMBINE


class ChecksumType(Enum):
    COMPOSITE = "COMPOSITE"
    """A checksum of the parts' checksums, written with `-<parts>`."""
    FULL_OBJECT = "FULL_OBJECT"


class Hasher(Protocol):
    def update(self, data: bytes, /) -> None: ...

    def digest(self) -> bytes: ...


class _Crc:
    __slots__ = ("_size", "_step", "_value")

    def __init__(self, step: Callable[[bytes, int], int], size: int) -> None:
        self._step = step
        self._size = size
        self._value = 0

    def update(self, data: bytes, /) -> None:
        self._value = self._step(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(self._size, "big")


class _Xxhash:
    __slots__ = ("_state",)

    def __init__(self, begin: Callable[[], crt.XXHash]) -> None:
        self._state = begin()

    def update(self, data: bytes, /) -> None:
        self._state.update(data)

    def digest(self) -> bytes:
        return bytes(self._state.finalize())


_BEGIN: Final[dict[Algorithm, Callable[[], Hasher]]] = {
    Algorithm.CRC32: lambda: _Crc(zlib.crc32, 4),
    Algorithm.CRC32C: lambda: _Crc(crt.crc32c, 4),
    Algorithm.CRC64NVME: lambda: _Crc(crt.crc64nvme, 8),
    Algorithm.SHA1: sha1,
    Algorithm.SHA256: sha256,
    Algorithm.SHA512: sha512,
    Algorithm.MD5: md5,
    Algorithm.XXHASH64: lambda: _Xxhash(crt.XXHash.new_xxhash64),
    Algorithm.XXHASH3: lambda: _Xxhash(crt.XXHash.new_xxhash3_64),
    Algorithm.XXHASH128: lambda: _Xxhash(crt.XXHash.new_xxhash3_128),
}
_SIZES: Final = {
    Algorithm.CRC32: 4,
    Algorithm.CRC32C: 4,
    Algorithm.CRC64NVME: 8,
    Algorithm.SHA1: 20,
    Algorithm.SHA256: 32,
    Algorithm.SHA512: 64,
    Algorithm.MD5: 16,
    Algorithm.XXHASH64: 8,
    Algorithm.XXHASH3: 8,
    Algorithm.XXHASH128: 16,
}
_COMBINE: Final[dict[Algorithm, Callable[[int, int, int], int]]] = {
    Algorithm.CRC32: crt.combine_crc32,
    Algorithm.CRC32C: crt.combine_crc32c,
    Algorithm.CRC64NVME: crt.combine_crc64nvme,
}
_BY_HEADER: Final = {algorithm.header: algorithm for algorithm in Algorithm}
_BY_NAME: Final = {algorithm.value: algorithm for algorithm in Algorithm}
_NO_CHECKSUMS: Final = frozenset({"x-amz-checksum-algorithm", "x-amz-checksum-mode", "x-amz-checksum-type"})
"""Headers that begin like checksums and are none."""


def hasher_of(algorithm: Algorithm) -> Hasher:
    return _BEGIN[algorithm]()


@dataclass(frozen=True, slots=True)
class Checksum:
    algorithm: Algorithm
    digest: bytes

    @property
    def text(self) -> str:
        """As in headers and XML: base64."""
        return b64encode(self.digest).decode()


def parse_checksum(algorithm: Algorithm, text: str) -> Checksum:
    """A checksum as it stands in a header, a trailer or XML. Raises S3Fault InvalidRequest."""
    try:
        digest = b64decode(text.encode("latin-1", "replace"), validate=True)
    except Base64Error:
        digest = b""
    if len(digest) != algorithm.size:
        _invalid(f"The value of {algorithm.header} is invalid: it must be the base64 of {algorithm.size} bytes.")
    return Checksum(algorithm, digest)


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
    """What to compute and report: that of `checksum`, or of the trailer announced."""
    in_trailer: bool
    """The value of `algorithm` comes in the trailer."""


def expected_of(fields: Fields, payload: Payload) -> Expected:
    """What the headers of an upload promise. Raises S3Fault: InvalidDigest (Content-MD5), InvalidRequest (unknown or
    conflicting algorithms, malformed values, several checksums, a trailer that is no checksum)."""
    values = joined(fields)
    checksum = _checksum_in(values)
    in_trailer = _announced(values, payload)
    if checksum is not None and in_trailer is not None:
        _invalid("One checksum is allowed: in a header or in the trailer.")
    algorithm = in_trailer if checksum is None else checksum.algorithm
    named = algorithm_named(values, b"x-amz-sdk-checksum-algorithm")
    if named is not None and named is not algorithm:
        if algorithm is None:
            _invalid(
                "x-amz-sdk-checksum-algorithm is there, but neither a checksum nor an x-amz-trailer that names one."
            )
        _invalid(f"x-amz-sdk-checksum-algorithm says {named.value}, but the checksum is {algorithm.value}.")
    return Expected(
        md5=_content_md5(values),
        sha256=payload.sha256 if payload.kind is PayloadKind.SHA256 else "",
        checksum=checksum,
        algorithm=algorithm,
        in_trailer=in_trailer is not None,
    )


def algorithm_named(values: Mapping[bytes, bytes], header: bytes) -> Algorithm | None:
    """The algorithm that a header names (x-amz-checksum-algorithm of multipart uploads and copies, or the SDK's).

    Raises S3Fault InvalidRequest for an unknown one.
    """
    value = values.get(header)
    if value is None:
        return None
    found = _BY_NAME.get(value.decode("latin-1").upper())
    if found is None:
        _invalid(f"{header.decode()} must be one of {', '.join(_BY_NAME)}.")
    return found


def _content_md5(values: Mapping[bytes, bytes]) -> bytes | None:
    value = values.get(b"content-md5")
    if value is None:
        return None
    try:
        digest = b64decode(value, validate=True)
    except Base64Error:
        digest = b""
    if len(digest) != 16:
        raise S3Fault(Code.INVALID_DIGEST, extra=(("Content-MD5", value.decode("latin-1")),))
    return digest


def _checksum_in(values: Mapping[bytes, bytes]) -> Checksum | None:
    found = None
    for raw_name, value in values.items():
        if not raw_name.startswith(b"x-amz-checksum-"):
            continue
        name = raw_name.decode("latin-1")
        if name in _NO_CHECKSUMS:
            continue
        algorithm = _BY_HEADER.get(name)
        if algorithm is None:
            _invalid(f"{name[:80]} is no known checksum; known are {', '.join(_BY_NAME)}.")
        if found is not None:
            _invalid("One checksum is allowed; the request has several x-amz-checksum-* headers.")
        found = parse_checksum(algorithm, value.decode("latin-1"))
    return found


def _announced(values: Mapping[bytes, bytes], payload: Payload) -> Algorithm | None:
    """The checksum that x-amz-trailer announces."""
    value = values.get(b"x-amz-trailer")
    if value is None:
        return None
    if not payload.has_trailer:
        _invalid("x-amz-trailer is there, but x-amz-content-sha256 announces no trailer.")
    algorithm = _BY_HEADER.get(value.decode("latin-1").strip().lower())
    if algorithm is None:
        _invalid("x-amz-trailer must name one x-amz-checksum-* of a known algorithm.")
    return algorithm


@dataclass(frozen=True, slots=True)
class HashedBody:
    size: int
    md5: str
    """In hex."""
    checksum: Checksum | None
    """Proved equal to the one given, where one was given."""


class BodyHasher:
    """Takes up a body and compares it at the end with all that was promised. Always computes the MD5 (the ETag)."""

    def __init__(self, expected: Expected) -> None:
        self._expected = expected
        self._size = 0
        self._md5 = md5()
        self._sha256 = sha256() if expected.sha256 else None
        shared = {Algorithm.MD5: self._md5, Algorithm.SHA256: self._sha256}
        algorithm = expected.algorithm
        self._checksum: Hasher | None = None
        self._each: list[Callable[[bytes], None]] = [self._md5.update]
        if self._sha256 is not None:
            self._each.append(self._sha256.update)
        if algorithm is not None:
            self._checksum = shared.get(algorithm)
            if self._checksum is None:
                self._checksum = hasher_of(algorithm)
                self._each.append(self._checksum.update)

    def update(self, data: bytes) -> None:
        self._size += len(data)
        for update in self._each:
            update(data)

    def finish(self, trailers: Mapping[str, str]) -> HashedBody:
        """`trailers` of the aws-chunked body. Raises S3Fault: BadDigest, XAmzContentSHA256Mismatch,
        MalformedTrailerError, InvalidRequest."""
        expected = self._expected
        digest = self._md5.digest()
        if expected.md5 is not None and digest != expected.md5:
            _mismatch("Content-MD5", b64encode(expected.md5).decode(), b64encode(digest).decode())
        if self._sha256 is not None and self._sha256.hexdigest() != expected.sha256:
            raise S3Fault(
                Code.X_AMZ_CONTENT_SHA256_MISMATCH,
                extra=(
                    ("ClientComputedContentSHA256", expected.sha256),
                    ("S3ComputedContentSHA256", self._sha256.hexdigest()),
                ),
            )
        return HashedBody(self._size, digest.hex(), self._checked(trailers))

    def _checked(self, trailers: Mapping[str, str]) -> Checksum | None:
        expected, algorithm = self._expected, self._expected.algorithm
        if algorithm is None or self._checksum is None:
            return None
        computed = Checksum(algorithm, self._checksum.digest())
        given = expected.checksum
        if expected.in_trailer:
            text = trailers.get(algorithm.header)
            if text is None:
                raise S3Fault(Code.MALFORMED_TRAILER, f"The trailer announced, {algorithm.header}, did not come.")
            given = parse_checksum(algorithm, text)
        if given is not None and given != computed:
            _mismatch(algorithm.value, given.text, computed.text)
        return computed


def composite(parts: Sequence[Checksum]) -> str:
    """The checksum of checksums of an object of these parts: `<base64>-<parts>`. All are of one algorithm."""
    hasher = hasher_of(_one_algorithm(parts))
    hasher.update(b"".join(part.digest for part in parts))
    return f"{b64encode(hasher.digest()).decode()}-{len(parts)}"


def full_object(parts: Sequence[tuple[Checksum, int]]) -> Checksum:
    """The checksum of the whole object from those of its parts and their sizes in bytes, for algorithms that join.

    Raises ValueError for others: they need the bytes.
    """
    algorithm = _one_algorithm([checksum for checksum, _ in parts])
    combine = _COMBINE.get(algorithm)
    if combine is None:
        raise ValueError(f"{algorithm.value} of a whole does not follow from its parts")
    first, *others = parts
    value = int.from_bytes(first[0].digest, "big")
    for checksum, size in others:
        value = combine(value, int.from_bytes(checksum.digest, "big"), size)
    return Checksum(algorithm, value.to_bytes(algorithm.size, "big"))


def _one_algorithm(parts: Sequence[Checksum]) -> Algorithm:
    algorithms = {part.algorithm for part in parts}
    if len(algorithms) != 1:
        raise ValueError("an object has one or more parts, all with checksums of one algorithm")
    return algorithms.pop()


def _invalid(message: str) -> NoReturn:
    raise S3Fault(Code.INVALID_REQUEST, message)


def _mismatch(what: str, given: str, computed: str) -> NoReturn:
    raise S3Fault(
        Code.BAD_DIGEST,
        f"The {what} given does not match the bytes received; nothing was stored.",
        extra=(("ExpectedDigest", given), ("CalculatedDigest", computed)),
    )
