"""aws-chunked bodies: those of AWS's examples and of botocore decode, and nothing malformed or forged passes."""

from __future__ import annotations

import io
import time
import tracemalloc
from hashlib import md5, sha256

import pytest
from botocore.httpchecksum import AwsChunkedWrapper, Crc32Checksum, CrtCrc32cChecksum, CrtCrc64NvmeChecksum
from hypothesis import given
from hypothesis import strategies as st

from controlplane.s3 import sigv4
from controlplane.s3.aws_chunked import (
    MAX_LINE_BYTES,
    MAX_TRAILER_BYTES,
    ChunkDecoder,
    decoded_length_of,
    decoder_of,
    stored_encoding,
)
from controlplane.s3.body_checksums import BodyHasher, expected_of
from controlplane.s3.claim import ChunkSeed, Payload, PayloadKind, payload_of
from controlplane.s3.fault import Code, S3Fault

SIGNED = Payload(PayloadKind.SIGNED_CHUNKS)
SIGNED_TRAILER = Payload(PayloadKind.SIGNED_CHUNKS_TRAILER)
UNSIGNED_TRAILER = Payload(PayloadKind.UNSIGNED_CHUNKS_TRAILER)
CRC32C = "x-amz-checksum-crc32c"

KEY = sigv4.signing_key("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "20130524", "us-east-1", "s3")
SCOPE, TIMESTAMP = "20130524/us-east-1/s3/aws4_request", "20130524T000000Z"


def seed(signature: str = "f" * 64) -> ChunkSeed:
    return ChunkSeed(signature, KEY, SCOPE, TIMESTAMP)


def pieces(body: bytes, sizes: list[int]) -> list[bytes]:
    found, pos = [], 0
    for size in sizes:
        found.append(body[pos : pos + size])
        pos += size
    return [piece for piece in [*found, body[pos:]] if piece]


def decode(decoder: ChunkDecoder, body: bytes, sizes: list[int] | None = None) -> tuple[bytes, dict[str, str]]:
    # As bytes and as views of memory in turn: bodies come in both.
    came = (memoryview(piece) if at % 2 else piece for at, piece in enumerate(pieces(body, sizes or [])))
    data = b"".join(out for piece in came for out in decoder.feed(piece))
    return data, dict(decoder.finish())


def signed_body(
    chunks: list[bytes], trailer: tuple[str, str] | None = None, start: str = "f" * 64, *, line_end: str = "\r\n"
) -> bytes:
    """By the published description, written apart from the decoder."""
    body, last = b"", start
    for chunk in [*chunks, b""]:
        text = "\n".join(
            ["AWS4-HMAC-SHA256-PAYLOAD", TIMESTAMP, SCOPE, last, sha256(b"").hexdigest(), sha256(chunk).hexdigest()]
        )
        last = sigv4.signature(KEY, text)
        body += b"%x;chunk-signature=%b\r\n%b" % (len(chunk), last.encode(), chunk)
        if chunk:
            body += b"\r\n"
    if trailer is None:
        return body + b"\r\n"
    line = f"{trailer[0]}:{trailer[1]}"
    text = "\n".join(["AWS4-HMAC-SHA256-TRAILER", TIMESTAMP, SCOPE, last, sha256(f"{line}\n".encode()).hexdigest()])
    proof = sigv4.signature(KEY, text)
    return body + f"{line}{line_end}x-amz-trailer-signature:{proof}\r\n\r\n".encode()


def example(signatures: tuple[str, str, str], tail: bytes) -> bytes:
    first, second, last = (signature.encode() for signature in signatures)
    return (
        b"10000;chunk-signature=%b\r\n%b\r\n" % (first, b"a" * 65536)
        + b"400;chunk-signature=%b\r\n%b\r\n" % (second, b"a" * 1024)
        + b"0;chunk-signature=%b\r\n%b" % (last, tail)
    )


PUBLISHED = example(
    (
        "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
        "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
        "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
    ),
    b"\r\n",
)
PUBLISHED_SEED = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"
PUBLISHED_TRAILER = example(
    (
        "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2",
        "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
        "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992",
    ),
    b"x-amz-checksum-crc32c:sOO8/Q==\r\n"
    b"x-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n\r\n",
)
PUBLISHED_TRAILER_SEED = "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e"

sizes = st.lists(st.integers(1, 40_000), max_size=12) | st.lists(st.integers(1, 30), max_size=60)


@given(sizes)
def test_the_published_examples_however_they_arrive(cuts: list[int]) -> None:
    plain = ChunkDecoder(SIGNED, seed(PUBLISHED_SEED), 66_560)
    assert decode(plain, PUBLISHED, cuts) == (b"a" * 66_560, {})
    trailed = ChunkDecoder(SIGNED_TRAILER, seed(PUBLISHED_TRAILER_SEED), 66_560, frozenset({CRC32C}))
    data, trailers = decode(trailed, PUBLISHED_TRAILER, cuts)
    fields = [(b"x-amz-trailer", CRC32C.encode())]
    hasher = BodyHasher(expected_of(fields, SIGNED_TRAILER))
    hasher.update(data)
    assert hasher.finish(trailers).size == 66_560


@given(
    data=st.binary(max_size=5000),
    chunk=st.integers(1, 3000),
    algorithm=st.sampled_from(
        [("crc32", Crc32Checksum), ("crc32c", CrtCrc32cChecksum), ("crc64nvme", CrtCrc64NvmeChecksum), (None, None)]
    ),
    cuts=sizes,
)
def test_what_botocore_chunks_is_decoded_and_proved(
    data: bytes, chunk: int, algorithm: tuple[str | None, type | None], cuts: list[int]
) -> None:
    name, checksum = algorithm
    header = f"x-amz-checksum-{name}"
    body = AwsChunkedWrapper(
        io.BytesIO(data), checksum_cls=checksum, checksum_name=header if name else None, chunk_size=chunk
    ).read()
    fields = [(b"x-amz-decoded-content-length", str(len(data)).encode())]
    if name:
        fields.append((b"x-amz-trailer", header.encode()))
    hasher = BodyHasher(expected_of(fields, UNSIGNED_TRAILER))
    decoded, trailers = decode(decoder_of(fields, UNSIGNED_TRAILER, None), body, cuts)
    hasher.update(decoded)
    assert decoded == data
    assert set(trailers) == ({header} if name else set())
    assert hasher.finish(trailers).size == len(data)


chunked = st.lists(st.binary(min_size=1, max_size=300), max_size=5)


@given(chunked, sizes, st.booleans())
def test_signed_bodies_are_decoded(chunks: list[bytes], cuts: list[int], with_trailer: bool) -> None:
    data = b"".join(chunks)
    if with_trailer:
        body = signed_body(chunks, (CRC32C, "AAAAAA=="))
        decoder = ChunkDecoder(SIGNED_TRAILER, seed(), len(data), frozenset({CRC32C}))
        assert decode(decoder, body, cuts) == (data, {CRC32C: "AAAAAA=="})
    else:
        assert decode(ChunkDecoder(SIGNED, seed(), len(data)), signed_body(chunks), cuts) == (data, {})


def test_the_trailer_as_minio_go_writes_it() -> None:
    body = signed_body([b"data"], (CRC32C, "AAAAAA=="), line_end="\n\r\n")
    decoder = ChunkDecoder(SIGNED_TRAILER, seed(), 4, frozenset({CRC32C}))
    assert decode(decoder, body)[1] == {CRC32C: "AAAAAA=="}


@given(st.data())
def test_no_changed_byte_of_a_signed_body_passes(draw: st.DataObject) -> None:
    """Unless it changes nothing: a digit of a size in another case, a blank line at the very end."""
    chunks = draw.draw(st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=3))
    data = b"".join(chunks)
    trailer = (CRC32C, "AAAAAA==") if draw.draw(st.booleans()) else None
    body = signed_body(chunks, trailer)
    at = draw.draw(st.integers(0, len(body) - 1))
    byte = draw.draw(st.binary(max_size=2))
    forged = body[:at] + byte + body[at + 1 :]
    decoder = ChunkDecoder(
        SIGNED_TRAILER if trailer else SIGNED, seed(), len(data), frozenset({CRC32C} if trailer else ())
    )
    try:
        decoded, trailers = decode(decoder, forged)
    except S3Fault:
        return
    assert (decoded, trailers) == (data, dict([trailer]) if trailer else {})


@given(chunked.filter(bool), st.data())
def test_a_cut_body_never_passes(chunks: list[bytes], draw: st.DataObject) -> None:
    data, body = b"".join(chunks), signed_body(chunks)
    cut = body[: draw.draw(st.integers(0, len(body) - 3))]
    with pytest.raises(S3Fault) as caught:
        decode(ChunkDecoder(SIGNED, seed(), len(data)), cut)
    assert caught.value.status in (400, 403)


@given(st.binary(max_size=400) | st.lists(st.sampled_from(
    [b"5", b"0", b"a", b";chunk-signature=", b"f" * 64, b"\r\n", b"\r", b"\n", b"hello", b"x-amz-checksum-crc32c:",
     b"AAAAAA==", b"x-amz-trailer-signature:", b"ffffffffffffffff", b" "]), max_size=30).map(b"".join),
    st.sampled_from([SIGNED, SIGNED_TRAILER, UNSIGNED_TRAILER]), sizes, st.integers(0, 20))  # fmt: skip
def test_no_bytes_break_the_decoder(body: bytes, payload: Payload, cuts: list[int], length: int) -> None:
    decoder = ChunkDecoder(payload, seed() if payload.has_signed_chunks else None, length, frozenset({CRC32C}))
    fault: S3Fault | None = None
    try:
        data, _ = decode(decoder, body, cuts)
        assert payload is UNSIGNED_TRAILER, "a forgery passed"
        assert len(data) == length
    except S3Fault as raised:
        fault = raised
    if fault is not None:
        for act in (lambda: decoder.feed(b"0\r\n\r\n"), decoder.finish):
            with pytest.raises(S3Fault) as caught:
                act()
            assert caught.value is fault  # it stays raised


FF = b";chunk-signature=" + b"f" * 64


@pytest.mark.parametrize(
    ("payload", "body", "code"),
    [
        (SIGNED, b"5\r\nhello\r\n0\r\n\r\n", Code.INVALID_REQUEST),  # no signature
        (SIGNED, b"5" + FF + b"\r\nhello\r\n", Code.SIGNATURE_DOES_NOT_MATCH),
        (SIGNED, b"5" + FF.upper() + b"\r\nhello\r\n", Code.INVALID_REQUEST),
        (SIGNED, b"5" + FF + b";a=b\r\nhello\r\n", Code.INVALID_REQUEST),
        (SIGNED, b"5" + FF + b"\nhello\r\n", Code.INVALID_REQUEST),
        (SIGNED, b"+5" + FF + b"\r\n", Code.INVALID_REQUEST),
        (SIGNED, b"-5" + FF + b"\r\n", Code.INVALID_REQUEST),
        (SIGNED, b"0x5" + FF + b"\r\n", Code.INVALID_REQUEST),
        (SIGNED, b" 5" + FF + b"\r\n", Code.INVALID_REQUEST),
        (SIGNED, b"1_0" + FF + b"\r\n", Code.INVALID_REQUEST),
        (SIGNED, b"" + FF + b"\r\n", Code.INVALID_REQUEST),
        (SIGNED, b"6" + FF + b"\r\n", Code.INCOMPLETE_BODY),  # more than announced
        (SIGNED, b"ffffffffffffffff" + FF + b"\r\n", Code.INCOMPLETE_BODY),
        (SIGNED, b"00000000000000005" + FF + b"\r\n", Code.INVALID_REQUEST),  # 17 digits
        (SIGNED, b"0" * (MAX_LINE_BYTES + 1), Code.INVALID_REQUEST),  # no line end in sight
        (SIGNED, b"\r\n", Code.INVALID_REQUEST),
        (SIGNED, b"", Code.INCOMPLETE_BODY),
        (UNSIGNED_TRAILER, b"5\r\nhello", Code.INCOMPLETE_BODY),
        (UNSIGNED_TRAILER, b"5\r\nhello\r\n", Code.INCOMPLETE_BODY),
        (UNSIGNED_TRAILER, b"5\r\nhello0\r\n\r\n", Code.INVALID_REQUEST),
        (UNSIGNED_TRAILER, b"5\r\nhello\r0\r\n\r\n", Code.INVALID_REQUEST),
        (UNSIGNED_TRAILER, b"5\r\nhello\n0\r\n\r\n", Code.INVALID_REQUEST),
        (UNSIGNED_TRAILER, b"4\r\nhell\r\n0\r\n\r\n", Code.INCOMPLETE_BODY),  # less than announced
        (UNSIGNED_TRAILER, b"5;x\r\nhello\r\n0\r\n\r\n", Code.INVALID_REQUEST),
        (UNSIGNED_TRAILER, b"5\r\nhello\r\n0\r\nnonsense\r\n\r\n", Code.MALFORMED_TRAILER),
        (UNSIGNED_TRAILER, b"5\r\nhello\r\n0\r\nx-amz-checksum-crc32c: \r\n\r\n", Code.MALFORMED_TRAILER),
        (UNSIGNED_TRAILER, b"5\r\nhello\r\n0\r\nx-amz-checksum-crc32c:AAAAAA==", Code.MALFORMED_TRAILER),
        (UNSIGNED_TRAILER, b"5\r\nhello\r\n0\r\n\r\n", Code.MALFORMED_TRAILER),  # announced, and not there
        (UNSIGNED_TRAILER, b"5\r\nhello\r\n0\r\nx-amz-meta-a:b\r\n\r\n", Code.MALFORMED_TRAILER),  # not announced
        (UNSIGNED_TRAILER, b"5\r\nhello\r\n0\r\n" + b"x-amz-checksum-crc32c:AAAAAA==\r\n" * 2 + b"\r\n",
         Code.MALFORMED_TRAILER),
        (UNSIGNED_TRAILER, b"5\r\nhello\r\n0\r\nx-amz-checksum-crc32c : AAAAAA==\r\n\r\n", Code.MALFORMED_TRAILER),
        (UNSIGNED_TRAILER, b"5\r\nhello\r\n0\r\n" + b"a" * (MAX_TRAILER_BYTES + 1), Code.MALFORMED_TRAILER),
        (UNSIGNED_TRAILER, b"5\r\nhello\r\n0\r\n\r\n5\r\nhello\r\n0\r\n\r\n", Code.MALFORMED_TRAILER),
    ],
)  # fmt: skip
@pytest.mark.parametrize("step", [1, 3, 10_000])
def test_malformed_bodies_have_their_code(payload: Payload, body: bytes, code: Code, step: int) -> None:
    decoder = ChunkDecoder(payload, seed() if payload.has_signed_chunks else None, 5, frozenset({CRC32C}))
    with pytest.raises(S3Fault) as caught:
        decode(decoder, body, [step] * (len(body) // step))
    assert caught.value.code is code


def test_what_follows_a_signed_body_is_refused() -> None:
    with pytest.raises(S3Fault) as caught:
        decode(ChunkDecoder(SIGNED, seed(), 5), signed_body([b"hello"]) + b"5;")
    assert caught.value.code is Code.INVALID_REQUEST


def test_a_signed_trailer_needs_its_signature() -> None:
    body = signed_body([b"hello"])[:-2] + b"x-amz-checksum-crc32c:AAAAAA==\r\n\r\n"
    with pytest.raises(S3Fault) as caught:
        decode(ChunkDecoder(SIGNED_TRAILER, seed(), 5, frozenset({CRC32C})), body)
    assert caught.value.code is Code.MALFORMED_TRAILER


def test_a_decoder_holds_little() -> None:
    """However long the chunk: what came in goes out."""
    decoder = ChunkDecoder(UNSIGNED_TRAILER, None, 1 << 40, frozenset())
    decoder.feed(b"ffffffffff\r\n")
    piece = b"x" * 65536
    tracemalloc.start()
    for _ in range(1000):
        decoder.feed(piece)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * len(piece)


@pytest.mark.parametrize(
    ("value", "code"),
    [(None, Code.MISSING_CONTENT_LENGTH), (b"", Code.INVALID_ARGUMENT), (b"-1", Code.INVALID_ARGUMENT),
     (b"1.0", Code.INVALID_ARGUMENT), (b"9" * 19, Code.INVALID_ARGUMENT), (b"1,1", Code.INVALID_ARGUMENT)],
)  # fmt: skip
def test_the_decoded_length_is_needed(value: bytes | None, code: Code) -> None:
    with pytest.raises(S3Fault) as caught:
        decoded_length_of(value)
    assert caught.value.code is code


def test_signed_chunks_of_an_unsigned_request_are_refused() -> None:
    with pytest.raises(S3Fault) as caught:
        decoder_of([(b"x-amz-decoded-content-length", b"1")], SIGNED, None)
    assert caught.value.code is Code.ACCESS_DENIED


def test_an_unsigned_request_may_be_chunked_too() -> None:
    """botocore's anonymous uploads over TLS have no x-amz-content-sha256; their framing must not be stored."""
    fields = [(b"content-encoding", b"gzip, aws-chunked"), (b"x-amz-decoded-content-length", b"5")]
    assert payload_of(fields).kind is PayloadKind.UNSIGNED_CHUNKS_TRAILER
    assert payload_of(fields[:1]).kind is PayloadKind.UNDECLARED
    with pytest.raises(S3Fault):
        payload_of([*fields, (b"x-amz-content-sha256", b"a" * 64)])


@pytest.mark.parametrize(
    ("given", "stored"),
    [("aws-chunked", ""), ("gzip", "gzip"), ("aws-chunked, gzip", "gzip"), ("gzip,aws-chunked", "gzip"),
     ("deflate, AWS-Chunked, gzip", "deflate, gzip"), ("", "")],
)  # fmt: skip
def test_the_encoding_that_is_stored(given: str, stored: str) -> None:
    assert stored_encoding(given) == stored


def test_decoding_costs_little_beside_hashing() -> None:
    """64 KiB pieces of 1 MiB chunks, unsigned: well under a tenth of what MD5 takes for the same bytes."""
    data = b"x" * (1 << 20)
    body = (b"100000\r\n" + data + b"\r\n") * 16 + b"0\r\n\r\n"
    cut = pieces(body, [65536] * (len(body) // 65536))
    best = [1e9, 1e9]
    for _ in range(3):
        start = time.process_time()
        decoder = ChunkDecoder(UNSIGNED_TRAILER, None, len(data) * 16)
        for piece in cut:
            decoder.feed(piece)
        decoder.finish()
        middle = time.process_time()
        md5(body)
        best = [min(best[0], middle - start), min(best[1], time.process_time() - middle)]
    assert best[0] < best[1] / 3
