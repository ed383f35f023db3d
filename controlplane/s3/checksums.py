"""The checksums of S3: their algorithms, their values, and what the checksums of parts make of the whole.

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
from functools import cache
from hashlib import md5, sha1, sha256, sha512
from typing import TYPE_CHECKING, Any, Final, NoReturn, Protocol

from controlplane.s3.fault import Code, S3Fault

if TYPE_CHECKING:
    from awscrt.checksums import XXHash


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
    def update(self, data: bytes | memoryview, /) -> None: ...

    def digest(self) -> bytes: ...


@cache
def _crt() -> Any:
    """Not at the top: it takes 40 ms, and the mirror hashes nothing with it. Who serves uploads calls prepare()."""
    from awscrt import checksums

    return checksums


def prepare() -> None:
    """Load what computes the checksums, so that no first upload waits for it."""
    _crt()


class _Crc:
    __slots__ = ("_size", "_step", "_value")

    def __init__(self, step: Callable[[bytes | memoryview, int], int], size: int) -> None:
        self._step = step
        self._size = size
        self._value = 0

    def update(self, data: bytes | memoryview, /) -> None:
        self._value = self._step(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(self._size, "big")


class _Xxhash:
    __slots__ = ("_state",)

    def __init__(self, state: XXHash) -> None:
        self._state = state

    def update(self, data: bytes | memoryview, /) -> None:
        self._state.update(data)

    def digest(self) -> bytes:
        return bytes(self._state.finalize())


_BEGIN: Final[dict[Algorithm, Callable[[], Hasher]]] = {
    Algorithm.CRC32: lambda: _Crc(zlib.crc32, 4),
    Algorithm.CRC32C: lambda: _Crc(_crt().crc32c, 4),
    Algorithm.CRC64NVME: lambda: _Crc(_crt().crc64nvme, 8),
    Algorithm.SHA1: sha1,
    Algorithm.SHA256: sha256,
    Algorithm.SHA512: sha512,
    Algorithm.MD5: md5,
    Algorithm.XXHASH64: lambda: _Xxhash(_crt().XXHash.new_xxhash64()),
    Algorithm.XXHASH3: lambda: _Xxhash(_crt().XXHash.new_xxhash3_64()),
    Algorithm.XXHASH128: lambda: _Xxhash(_crt().XXHash.new_xxhash3_128()),
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
    Algorithm.CRC32: lambda *of: int(_crt().combine_crc32(*of)),
    Algorithm.CRC32C: lambda *of: int(_crt().combine_crc32c(*of)),
    Algorithm.CRC64NVME: lambda *of: int(_crt().combine_crc64nvme(*of)),
}
_BY_NAME: Final = {algorithm.value: algorithm for algorithm in Algorithm}


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
