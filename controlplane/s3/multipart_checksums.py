"""The checksum of an object that is put together of parts: how the upload began decides its kind, its parts its value.

A part's checksum was verified when the part was sent. What the completion names is held against that which the client
says of the whole; Riak CS keeps no checksums, so that a client which names another checksum for a part than it sent is
found only by the ETag, or when its whole does not fit.

Source: AWS, "Checking object integrity in Amazon S3", the table of algorithms and checksum types of multipart uploads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NoReturn

from controlplane.s3.checksums import (
    Algorithm,
    Checksum,
    ChecksumType,
    algorithm_named,
    composite,
    full_object,
    parse_checksum,
)
from controlplane.s3.claim import Fields, joined
from controlplane.s3.documents.checksum_elements import StoredChecksum
from controlplane.s3.fault import Code, S3Fault

_FULL_ONLY: Final = frozenset({Algorithm.CRC64NVME})
_TYPE: Final = b"x-amz-checksum-type"
_SIZE: Final = b"x-amz-mp-object-size"


@dataclass(frozen=True, slots=True)
class Kind:
    """What kind of checksum an upload is to have."""

    algorithm: Algorithm
    type: ChecksumType


def kind_asked(fields: Fields) -> Kind | None:
    """What CreateMultipartUpload asks for, if anything. Raises S3Fault InvalidRequest for what does not go together."""
    values = joined(fields)
    algorithm = algorithm_named(values, b"x-amz-checksum-algorithm")
    if algorithm is None:
        if _TYPE in values:
            _invalid("x-amz-checksum-type needs x-amz-checksum-algorithm.")
        return None
    return Kind(algorithm, _type(values, algorithm))


def _type(values: Mapping[bytes, bytes], algorithm: Algorithm) -> ChecksumType:
    """The one asked for, or the usual one of the algorithm."""
    given = values.get(_TYPE)
    if given is None:
        return ChecksumType.FULL_OBJECT if algorithm in _FULL_ONLY else ChecksumType.COMPOSITE
    try:
        wanted = ChecksumType(given.decode("latin-1").upper())
    except ValueError:
        _invalid("x-amz-checksum-type must be COMPOSITE or FULL_OBJECT.")
    if (wanted is ChecksumType.COMPOSITE and algorithm in _FULL_ONLY) or (
        wanted is ChecksumType.FULL_OBJECT and not algorithm.joins
    ):
        _invalid(f"{algorithm.value} has no checksum of the type {wanted.value} in a multipart upload.")
    return wanted


def check_whole(parts: Sequence[tuple[StoredChecksum | None, int]], fields: Fields) -> StoredChecksum | None:
    """The checksum of the whole as CompleteMultipartUpload names its parts (checksum and size in bytes), verified
    against what the request says of it. None when the parts have none.

    Raises S3Fault: BadDigest, InvalidRequest (a size that differs, checksums that do not go together), InvalidPart (a
    part without a checksum among others with one), NotImplemented (nothing to verify a given checksum by).
    """
    values = joined(fields)
    _check_size(values, sum(size for _, size in parts))
    given = _given(values)
    named = [(checksum, size) for checksum, size in parts if checksum is not None]
    if not named:
        if given is not None:
            raise S3Fault(
                Code.NOT_IMPLEMENTED,
                "The checksum of the whole can be verified only by those of the parts: name them in the completion.",
            )
        return None
    algorithms = {checksum.algorithm for checksum, _ in named}
    if len(named) != len(parts) or len(algorithms) != 1:
        raise S3Fault(Code.INVALID_PART, "Name a checksum of one algorithm for every part, or for none.")
    algorithm = algorithms.pop()
    if given is not None and given[0] is not algorithm:
        _invalid(f"The whole is given by {given[0].value}, its parts by {algorithm.value}.")
    wanted = _wanted_type(values, algorithm, given)
    whole = _computed([(parse_checksum(algorithm, checksum.text), size) for checksum, size in named], wanted)
    if given is not None and given[1] != whole.text:
        raise S3Fault(
            Code.BAD_DIGEST,
            f"The {algorithm.value} given for the object is not that of its parts; nothing was completed.",
            extra=(("ExpectedDigest", given[1]), ("CalculatedDigest", whole.text)),
        )
    return whole


def _wanted_type(
    values: Mapping[bytes, bytes], algorithm: Algorithm, given: tuple[Algorithm, str] | None
) -> ChecksumType:
    """By the header; else by the form of the checksum given: composite ones end in -<parts>."""
    if _TYPE not in values and given is not None and algorithm.joins:
        return ChecksumType.COMPOSITE if "-" in given[1] else ChecksumType.FULL_OBJECT
    return _type(values, algorithm)


def _computed(parts: list[tuple[Checksum, int]], wanted: ChecksumType) -> StoredChecksum:
    algorithm = parts[0][0].algorithm
    if wanted is ChecksumType.COMPOSITE:
        return StoredChecksum(algorithm, composite([checksum for checksum, _ in parts]), wanted)
    return StoredChecksum(algorithm, full_object(parts).text, wanted)


def _given(values: Mapping[bytes, bytes]) -> tuple[Algorithm, str] | None:
    """The checksum of the whole that the headers give."""
    found = [
        (algorithm, values[algorithm.header.encode()].decode("latin-1").strip())
        for algorithm in Algorithm
        if algorithm.header.encode() in values
    ]
    if len(found) > 1:
        _invalid("One checksum is allowed; the request has several x-amz-checksum-* headers.")
    return found[0] if found else None


def _check_size(values: Mapping[bytes, bytes], size: int) -> None:
    given = values.get(_SIZE)
    if given is not None and given != str(size).encode():
        _invalid(f"x-amz-mp-object-size says {given.decode('latin-1')[:40]}, but the parts have {size} bytes.")


def without_checksums(fields: Fields) -> list[tuple[bytes, bytes]]:
    """The fields of a completion for the check of its own body: its checksums are about the object."""
    return [field for field in fields if not field[0].startswith((b"x-amz-checksum-", b"x-amz-sdk-checksum-"))]


def _invalid(message: str) -> NoReturn:
    raise S3Fault(Code.INVALID_REQUEST, message)
