"""Checksums are those of botocore and of the published check values; what a request promises is verified, all of it."""

from __future__ import annotations

import zlib
from base64 import b64encode
from hashlib import md5, sha1, sha256

import botocore.httpchecksum
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.s3.body_checksums import BodyHasher, Expected, HashedBody, expected_of
from controlplane.s3.checksums import Algorithm, Checksum, composite, full_object, hasher_of, parse_checksum
from controlplane.s3.claim import UNDECLARED, Payload, PayloadKind
from controlplane.s3.fault import Code, S3Fault

TRAILER = Payload(PayloadKind.UNSIGNED_CHUNKS_TRAILER)


def checksum_of(algorithm: Algorithm, data: bytes) -> Checksum:
    hasher = hasher_of(algorithm)
    hasher.update(data)
    return Checksum(algorithm, hasher.digest())


@pytest.mark.parametrize(
    ("algorithm", "digest"),
    [
        (Algorithm.CRC32, "cbf43926"),
        (Algorithm.CRC32C, "e3069283"),
        (Algorithm.CRC64NVME, "ae8b14860a799888"),
        (Algorithm.MD5, "25f9e794323b453885f5181f1b624d0b"),
        (Algorithm.SHA1, "f7c3bc1d808e04732adf679965ccc34ca7ae3441"),
    ],
)
def test_the_published_check_values(algorithm: Algorithm, digest: str) -> None:
    """Of the CRC catalogue: the bytes 123456789."""
    assert checksum_of(algorithm, b"123456789").digest.hex() == digest


@given(st.sampled_from([a for a in Algorithm if a is not Algorithm.MD5]), st.lists(st.binary(max_size=200), max_size=6))
def test_they_are_those_of_botocore_however_the_bytes_come(algorithm: Algorithm, parts: list[bytes]) -> None:
    theirs = botocore.httpchecksum._CHECKSUM_CLS[algorithm.value.lower()]()
    ours = hasher_of(algorithm)
    for part in parts:
        theirs.update(part)
        ours.update(part)
    assert ours.digest() == theirs.digest()
    assert len(ours.digest()) == algorithm.size


@given(st.sampled_from([a for a in Algorithm if a.joins]), st.lists(st.binary(max_size=100), min_size=1, max_size=6))
def test_the_whole_follows_from_the_parts(algorithm: Algorithm, parts: list[bytes]) -> None:
    joined = full_object([(checksum_of(algorithm, part), len(part)) for part in parts])
    assert joined == checksum_of(algorithm, b"".join(parts))


@given(st.sampled_from(list(Algorithm)), st.lists(st.binary(max_size=100), min_size=1, max_size=6))
def test_a_composite_checksum_is_that_of_the_parts_checksums(algorithm: Algorithm, parts: list[bytes]) -> None:
    each = [checksum_of(algorithm, part) for part in parts]
    whole = checksum_of(algorithm, b"".join(checksum.digest for checksum in each))
    assert composite(each) == f"{whole.text}-{len(parts)}"


def test_only_crcs_can_be_joined_and_only_with_their_like() -> None:
    crc, sha = checksum_of(Algorithm.CRC32, b"a"), checksum_of(Algorithm.SHA256, b"a")
    for parts in ([(sha, 1)], [(crc, 1), (sha, 1)], []):
        with pytest.raises(ValueError, match=r"."):
            full_object(parts)
    for each in ([crc, sha], []):
        with pytest.raises(ValueError, match=r"."):
            composite(each)


DATA = b"Hello, gateway"
CRC32_TEXT = b64encode(zlib.crc32(DATA).to_bytes(4, "big"))
MD5_TEXT = b64encode(md5(DATA).digest())


def verified(fields: list[tuple[bytes, bytes]], payload: Payload, trailers: dict[str, str] | None = None) -> HashedBody:
    hasher = BodyHasher(expected_of(fields, payload))
    hasher.update(DATA[:3])
    hasher.update(DATA[3:])
    return hasher.finish(trailers or {})


def test_everything_that_was_promised_holds() -> None:
    body = verified(
        [
            (b"content-md5", MD5_TEXT),
            (b"x-amz-checksum-crc32", CRC32_TEXT),
            (b"x-amz-sdk-checksum-algorithm", b"CRC32"),
        ],
        Payload(PayloadKind.SHA256, sha256(DATA).hexdigest()),
    )
    assert (body.size, body.md5) == (len(DATA), md5(DATA).hexdigest())
    assert body.checksum == Checksum(Algorithm.CRC32, zlib.crc32(DATA).to_bytes(4, "big"))
    assert body.checksum.text == CRC32_TEXT.decode()


@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_each_algorithm_is_verified_in_header_and_trailer(algorithm: Algorithm) -> None:
    right, wrong = checksum_of(algorithm, DATA).text, checksum_of(algorithm, DATA + b"x").text
    name = algorithm.header
    announced = [(b"x-amz-trailer", name.encode())]
    assert verified([(name.encode(), right.encode())], UNDECLARED).checksum == checksum_of(algorithm, DATA)
    assert verified(announced, TRAILER, {name: right}).checksum == checksum_of(algorithm, DATA)
    for fields, trailers in (([(name.encode(), wrong.encode())], {}), (announced, {name: wrong})):
        with pytest.raises(S3Fault) as caught:
            verified(fields, TRAILER, trailers)
        assert (caught.value.code, caught.value.status) == (Code.BAD_DIGEST, 400)
        assert dict(caught.value.extra) == {"ExpectedDigest": wrong, "CalculatedDigest": right}


def test_a_wrong_md5_or_sha256_is_found() -> None:
    """put-sha256-wrong and put-crc32-wrong are 200 from Riak CS."""
    with pytest.raises(S3Fault) as caught:
        verified([(b"content-md5", b64encode(b"x" * 16))], UNDECLARED)
    assert caught.value.code is Code.BAD_DIGEST
    with pytest.raises(S3Fault) as caught:
        verified([], Payload(PayloadKind.SHA256, "a" * 64))
    assert caught.value.code is Code.X_AMZ_CONTENT_SHA256_MISMATCH


def test_a_checksum_by_sha256_and_a_signed_payload_are_both_verified() -> None:
    text = b64encode(sha256(DATA).digest())
    payload = Payload(PayloadKind.SHA256, sha256(DATA).hexdigest())
    assert verified([(b"x-amz-checksum-sha256", text)], payload).checksum
    with pytest.raises(S3Fault):
        verified([(b"x-amz-checksum-sha256", b64encode(sha256(b"").digest()))], payload)
    with pytest.raises(S3Fault):
        verified([(b"x-amz-checksum-sha256", text)], Payload(PayloadKind.SHA256, "0" * 64))


def test_an_announced_trailer_that_does_not_come_is_malformed() -> None:
    with pytest.raises(S3Fault) as caught:
        verified([(b"x-amz-trailer", b"x-amz-checksum-sha1")], TRAILER)
    assert caught.value.code is Code.MALFORMED_TRAILER


@pytest.mark.parametrize(
    "value", [b"", b"AAAA", b"YWJyYWNhZGFicmE=", b"!" * 24, MD5_TEXT + b"=", MD5_TEXT[:-1], b"\xff" * 24]
)
def test_a_malformed_content_md5(value: bytes) -> None:
    with pytest.raises(S3Fault) as caught:
        expected_of([(b"content-md5", value)], UNDECLARED)
    assert caught.value.code is Code.INVALID_DIGEST


@pytest.mark.parametrize(
    ("fields", "payload"),
    [
        ([(b"x-amz-checksum-crc32", b"AAA")], UNDECLARED),
        ([(b"x-amz-checksum-crc32", b"")], UNDECLARED),
        ([(b"x-amz-checksum-crc32", b"AAAAAAAAAAA=")], UNDECLARED),  # eight bytes
        ([(b"x-amz-checksum-crc32", b"AAAAAA==-2")], UNDECLARED),  # composite, on a body
        ([(b"x-amz-checksum-crc32", b"AAAAAA==, AAAAAA==")], UNDECLARED),
        ([(b"x-amz-checksum-crc32", b"AAAAAA=="), (b"x-amz-checksum-crc32", b"AAAAAA==")], UNDECLARED),
        ([(b"x-amz-checksum-crc32", b"AAAAAA=="), (b"x-amz-checksum-crc32c", b"AAAAAA==")], UNDECLARED),
        ([(b"x-amz-checksum-crc16", b"AAA=")], UNDECLARED),
        ([(b"x-amz-sdk-checksum-algorithm", b"CRC16")], UNDECLARED),
        ([(b"x-amz-sdk-checksum-algorithm", b"CRC32")], UNDECLARED),  # and no checksum
        ([(b"x-amz-sdk-checksum-algorithm", b"CRC32C"), (b"x-amz-checksum-crc32", b"AAAAAA==")], UNDECLARED),
        ([(b"x-amz-trailer", b"x-amz-checksum-crc32")], UNDECLARED),
        ([(b"x-amz-trailer", b"x-amz-meta-a")], TRAILER),
        ([(b"x-amz-trailer", b"x-amz-checksum-crc32,x-amz-checksum-sha1")], TRAILER),
        ([(b"x-amz-trailer", b"x-amz-checksum-crc32"), (b"x-amz-checksum-crc32", b"AAAAAA==")], TRAILER),
        ([(b"x-amz-trailer", b"x-amz-checksum-crc32"), (b"x-amz-sdk-checksum-algorithm", b"SHA1")], TRAILER),
    ],
)
def test_conflicts_and_unknown_algorithms_are_refused(fields: list[tuple[bytes, bytes]], payload: Payload) -> None:
    with pytest.raises(S3Fault) as caught:
        expected_of(fields, payload)
    assert (caught.value.code, caught.value.status) == (Code.INVALID_REQUEST, 400)


def test_headers_that_only_look_like_checksums() -> None:
    fields = [
        (b"x-amz-checksum-mode", b"ENABLED"),
        (b"x-amz-checksum-algorithm", b"CRC32"),
        (b"x-amz-checksum-type", b"COMPOSITE"),
    ]
    assert expected_of(fields, UNDECLARED) == Expected(None, "", None, None, in_trailer=False)


@given(st.sampled_from(list(Algorithm)), st.text(max_size=60))
def test_no_text_breaks_the_reader_of_checksums(algorithm: Algorithm, text: str) -> None:
    try:
        checksum = parse_checksum(algorithm, text)
    except S3Fault:
        return
    assert checksum.text.rstrip("=") == text.rstrip("=")


def test_sha1_is_hashlibs() -> None:
    assert checksum_of(Algorithm.SHA1, DATA).digest == sha1(DATA).digest()
