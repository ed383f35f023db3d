"""The checksums of a request's body: which are to be verified, taken up as the bytes come, and compared."""

from __future__ import annotations

from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import md5, sha256
from typing import Final, NoReturn

from controlplane.s3.checksums import Algorithm, Checksum, Hasher, algorithm_named, hasher_of, parse_checksum
from controlplane.s3.claim import Fields, Payload, PayloadKind, joined
from controlplane.s3.fault import Code, S3Fault

_BY_HEADER: Final = {algorithm.header: algorithm for algorithm in Algorithm}
_NO_CHECKSUMS: Final = frozenset({"x-amz-checksum-algorithm", "x-amz-checksum-mode", "x-amz-checksum-type"})
"""Headers that begin like checksums and are none."""


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
            _invalid(f"{name[:80]} is no known checksum; known are {', '.join(one.value for one in Algorithm)}.")
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
        self._each: list[Callable[[bytes | memoryview], None]] = [self._md5.update]
        if self._sha256 is not None:
            self._each.append(self._sha256.update)
        if algorithm is not None:
            self._checksum = shared.get(algorithm)
            if self._checksum is None:
                self._checksum = hasher_of(algorithm)
                self._each.append(self._checksum.update)

    def update(self, data: bytes | memoryview) -> None:
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


def _invalid(message: str) -> NoReturn:
    raise S3Fault(Code.INVALID_REQUEST, message)


def _mismatch(what: str, given: str, computed: str) -> NoReturn:
    raise S3Fault(
        Code.BAD_DIGEST,
        f"The {what} given does not match the bytes received; nothing was stored.",
        extra=(("ExpectedDigest", given), ("CalculatedDigest", computed)),
    )
