"""The checksum of an object that is put together of parts: how the upload began decides its kind, its parts its value.

A part's checksum was verified when the part was sent, and kept (services.s3.part_records). What the completion names is
held against that, and both against what the client says of the whole; a completion that names no checksums of its parts
is verified by the kept ones.

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


@dataclass(frozen=True, slots=True)
class PartSum:
    """What was computed of a part when it came."""

    checksum: Checksum
    size: int


@dataclass(frozen=True, slots=True)
class NamedSum:
    """A part as the completion names it, and what was kept of it."""

    named: StoredChecksum | None
    size: int
    kept: tuple[Checksum, ...] = ()


def part_checksums(
    parts: Sequence[NamedSum], fields: Fields, kind: Kind | None
) -> list[tuple[StoredChecksum | None, int]]:
    """Checksum and size of each part, for `check_whole`: as named, else as kept; none at all where nothing says which
    algorithm, or where one of the parts has none and no checksum of the whole is given.

    Raises S3Fault InvalidPart when a checksum named is not that of the part that was sent; InvalidRequest."""
    for part in parts:
        if part.named is not None:
            digest = parse_checksum(part.named.algorithm, part.named.text)
            if any(kept.algorithm is digest.algorithm and kept != digest for kept in part.kept):
                raise S3Fault(Code.INVALID_PART, "A checksum named is not that of the part that was sent.")
    if any(part.named is not None for part in parts):
        return [(part.named, part.size) for part in parts]
    given = _given(joined(fields))
    algorithm = given[0] if given is not None else _algorithm_of(parts, kind)
    found: list[tuple[StoredChecksum | None, int]] = []
    for part in parts:
        kept = next((kept for kept in part.kept if kept.algorithm is algorithm), None)
        found.append((None if kept is None else StoredChecksum(kept.algorithm, kept.text), part.size))
    if all(checksum is not None for checksum, _ in found):
        return found
    return [(None, size) for _, size in found]


def _algorithm_of(parts: Sequence[NamedSum], kind: Kind | None) -> Algorithm | None:
    """That which the upload began with; else one that every part has."""
    if kind is not None:
        return kind.algorithm
    common = [{kept.algorithm for kept in part.kept} for part in parts]
    return next((algorithm for algorithm in Algorithm if all(algorithm in one for one in common)), None)


def check_whole(
    parts: Sequence[tuple[StoredChecksum | None, int]], fields: Fields, kind: Kind | None = None
) -> StoredChecksum | None:
    """The checksum of the whole from those of its parts (checksum and size in bytes), verified against what the
    completion says of it. None when the parts have none. `kind`: how the upload began.

    Raises S3Fault: BadDigest, InvalidRequest (a size that differs, checksums that do not go together, nothing to verify
    a given one by), InvalidPart (a part without a checksum among others with one).
    """
    values = joined(fields)
    _check_size(values, sum(size for _, size in parts))
    given = _given(values)
    named = [(checksum, size) for checksum, size in parts if checksum is not None]
    if not named:
        if given is not None:
            _invalid(
                f"The {given[0].value} of the whole cannot be verified: not every part was sent with one. "
                "Send the parts with checksums of this algorithm."
            )
        return None
    algorithms = {checksum.algorithm for checksum, _ in named}
    if len(named) != len(parts) or len(algorithms) != 1:
        raise S3Fault(Code.INVALID_PART, "Name a checksum of one algorithm for every part, or for none.")
    algorithm = algorithms.pop()
    if given is not None and given[0] is not algorithm:
        _invalid(f"The whole is given by {given[0].value}, its parts by {algorithm.value}.")
    wanted = _wanted_type(values, algorithm, given, kind)
    whole = _computed([(parse_checksum(algorithm, checksum.text), size) for checksum, size in named], wanted)
    if given is not None and given[1] != whole.text:
        raise S3Fault(
            Code.BAD_DIGEST,
            f"The {algorithm.value} given for the object is not that of its parts; nothing was completed.",
            extra=(("ExpectedDigest", given[1]), ("CalculatedDigest", whole.text)),
        )
    return whole


def _wanted_type(
    values: Mapping[bytes, bytes],
    algorithm: Algorithm,
    given: tuple[Algorithm, str] | None,
    kind: Kind | None,
) -> ChecksumType:
    """By the header; else by the form of the checksum given: composite ones end in -<parts>; else as it began."""
    if _TYPE not in values:
        if given is not None and algorithm.joins:
            return ChecksumType.COMPOSITE if "-" in given[1] else ChecksumType.FULL_OBJECT
        if given is None and kind is not None and kind.algorithm is algorithm:
            return kind.type
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
