"""The checksum of a whole, by those of its parts: composite or of the full object, verified against what was said."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.s3.checksums import Algorithm, Checksum, ChecksumType, composite, hasher_of
from controlplane.s3.documents.checksum_elements import StoredChecksum
from controlplane.s3.fault import Code, S3Fault
from controlplane.s3.multipart_checksums import Kind, check_whole, kind_asked, without_checksums

CRCS = [algorithm for algorithm in Algorithm if algorithm.joins]
Fields = list[tuple[bytes, bytes]]


def checksum_of(algorithm: Algorithm, data: bytes) -> Checksum:
    hasher = hasher_of(algorithm)
    hasher.update(data)
    return Checksum(algorithm, hasher.digest())


def named(algorithm: Algorithm, parts: list[bytes]) -> list[tuple[StoredChecksum | None, int]]:
    return [(StoredChecksum(algorithm, checksum_of(algorithm, part).text), len(part)) for part in parts]


bodies = st.lists(st.binary(max_size=60), min_size=1, max_size=5)


@given(st.sampled_from(CRCS), bodies)
def test_a_full_object_checksum_is_that_of_all_bytes(algorithm: Algorithm, parts: list[bytes]) -> None:
    whole = checksum_of(algorithm, b"".join(parts)).text
    size = str(sum(map(len, parts))).encode()
    fields = [(algorithm.header.encode(), whole.encode()), (b"x-amz-mp-object-size", size)]
    wanted = StoredChecksum(algorithm, whole, ChecksumType.FULL_OBJECT)
    assert check_whole(named(algorithm, parts), fields) == wanted
    assert check_whole(named(algorithm, parts), [(b"x-amz-checksum-type", b"FULL_OBJECT")]) == wanted
    with pytest.raises(S3Fault) as caught:
        check_whole(named(algorithm, [*parts, b"x"]), fields[:1])
    assert caught.value.code is Code.BAD_DIGEST


@given(st.sampled_from([a for a in Algorithm if a is not Algorithm.CRC64NVME]), bodies)
def test_a_composite_checksum_is_that_of_the_parts(algorithm: Algorithm, parts: list[bytes]) -> None:
    text = composite([checksum_of(algorithm, part) for part in parts])
    wanted = StoredChecksum(algorithm, text, ChecksumType.COMPOSITE)
    assert check_whole(named(algorithm, parts), []) == wanted
    assert check_whole(named(algorithm, parts), [(algorithm.header.encode(), text.encode())]) == wanted
    with pytest.raises(S3Fault) as caught:
        check_whole(named(algorithm, parts), [(algorithm.header.encode(), b"x" + text.encode())])
    assert caught.value.code is Code.BAD_DIGEST


CRC32, SHA1 = named(Algorithm.CRC32, [b"a"]), named(Algorithm.SHA1, [b"a"])
NONE: list[tuple[StoredChecksum | None, int]] = [(None, 1)]


@pytest.mark.parametrize(
    ("parts", "fields", "code"),
    [
        (NONE, [(b"x-amz-checksum-crc32", b"AAAAAA==")], Code.INVALID_REQUEST),
        (CRC32 + NONE, [], Code.INVALID_PART),
        (CRC32 + SHA1, [], Code.INVALID_PART),
        (CRC32, [(b"x-amz-checksum-sha1", b"A" * 27 + b"=")], Code.INVALID_REQUEST),
        (CRC32, [(b"x-amz-mp-object-size", b"2")], Code.INVALID_REQUEST),
        (NONE, [(b"x-amz-mp-object-size", b"one")], Code.INVALID_REQUEST),
        (SHA1, [(b"x-amz-checksum-type", b"FULL_OBJECT")], Code.INVALID_REQUEST),
        (CRC32, [(b"x-amz-checksum-type", b"HALF")], Code.INVALID_REQUEST),
        (CRC32, [(b"x-amz-checksum-crc32", b"A"), (b"x-amz-checksum-sha1", b"A")], Code.INVALID_REQUEST),
        ([(StoredChecksum(Algorithm.CRC32, "nonsense"), 1)], [], Code.INVALID_REQUEST),
    ],
)
def test_what_does_not_go_together(parts: list[tuple[StoredChecksum | None, int]], fields: Fields, code: Code) -> None:
    with pytest.raises(S3Fault) as caught:
        check_whole(parts, fields)
    assert caught.value.code is code


def test_without_checksums_there_is_none() -> None:
    assert check_whole(NONE, [(b"x-amz-mp-object-size", b"1")]) is None


@pytest.mark.parametrize(
    ("algorithm", "kind", "wanted"),
    [
        (None, None, None),
        (b"crc32", None, Kind(Algorithm.CRC32, ChecksumType.COMPOSITE)),
        (b"CRC32C", b"FULL_OBJECT", Kind(Algorithm.CRC32C, ChecksumType.FULL_OBJECT)),
        (b"CRC64NVME", None, Kind(Algorithm.CRC64NVME, ChecksumType.FULL_OBJECT)),
        (b"SHA256", b"COMPOSITE", Kind(Algorithm.SHA256, ChecksumType.COMPOSITE)),
        (b"SHA256", b"FULL_OBJECT", Code.INVALID_REQUEST),
        (b"CRC64NVME", b"COMPOSITE", Code.INVALID_REQUEST),
        (b"CRC16", None, Code.INVALID_REQUEST),
        (None, b"COMPOSITE", Code.INVALID_REQUEST),
    ],
)
def test_what_an_upload_asks_for(algorithm: bytes | None, kind: bytes | None, wanted: Kind | Code | None) -> None:
    fields = [(b"x-amz-checksum-algorithm", algorithm), (b"x-amz-checksum-type", kind)]
    given_fields = [(name, value) for name, value in fields if value is not None]
    if isinstance(wanted, Code):
        with pytest.raises(S3Fault) as caught:
            kind_asked(given_fields)
        assert caught.value.code is wanted
    else:
        assert kind_asked(given_fields) == wanted


def test_the_checksums_of_a_completion_are_not_of_its_own_body() -> None:
    fields = [(b"content-md5", b"x"), (b"x-amz-checksum-crc32", b"y"), (b"x-amz-sdk-checksum-algorithm", b"z")]
    assert without_checksums(fields) == fields[:1]
