"""The aws-chunked coding of S3 uploads, decoded as it comes: signed, signed with trailer, unsigned with trailer.

Source: AWS, "Signature Calculations for the Authorization Header: Transferring Payload in Multiple Chunks", and the
page on trailing headers.

Constant memory: a decoder holds one size line or one trailer section, both bounded, and hands out the data of a chunk
as it comes in. **Data is handed out before the signature of its chunk is known to hold**: nothing may be kept of an
upload unless `finish()` has returned.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from enum import Enum
from hashlib import sha256
from typing import Final, NoReturn

from controlplane.s3.claim import ChunkSeed, Fields, Payload, joined
from controlplane.s3.fault import Code, S3Fault
from controlplane.s3.sigv4 import EMPTY_SHA256, signature

MAX_LINE_BYTES: Final = 256
"""Of a size line; a signed one of the largest size has 99."""
MAX_TRAILER_BYTES: Final = 4096
"""Of the whole section behind the last chunk."""
MAX_TRAILERS: Final = 8

_SIGNED_LINE: Final = re.compile(rb"([0-9a-fA-F]{1,16});chunk-signature=([0-9a-f]{64})\Z")
_UNSIGNED_LINE: Final = re.compile(rb"([0-9a-fA-F]{1,16})\Z")
_TRAILER_LINE: Final = re.compile(rb"([A-Za-z0-9-]{1,128}):[ \t]*([\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?)[ \t]*\Z")
_TRAILER_SIGNATURE: Final = "x-amz-trailer-signature"
_HEX_SIGNATURE: Final = re.compile(r"[0-9a-f]{64}\Z")
_LENGTH: Final = re.compile(rb"[0-9]{1,18}\Z")


class _State(Enum):
    SIZE = "a size line"
    DATA = "data"
    DATA_END = "the line end behind data"
    TRAILER = "the trailer section"
    DONE = "done"


class ChunkDecoder:
    """Decodes one body. Every malformed framing, wrong signature or wrong length raises S3Fault, and stays raised."""

    def __init__(
        self,
        payload: Payload,
        seed: ChunkSeed | None,
        decoded_length: int,
        trailer_names: frozenset[str] = frozenset(),
    ) -> None:
        """`seed` is needed exactly when the payload has signed chunks. `decoded_length` is
        x-amz-decoded-content-length. `trailer_names` are the lower-case names that x-amz-trailer announces."""
        if not payload.is_chunked or (seed is not None) != payload.has_signed_chunks:
            raise ValueError(f"no decoder for {payload.kind.name} {'with' if seed else 'without'} a seed")
        self._with_trailer = payload.has_trailer
        self._seed = seed
        self._last_signature = seed.signature if seed else ""
        self.decoded_length = decoded_length
        self._trailer_names = trailer_names
        self._state = _State.SIZE
        self._held = bytearray()
        """A part of a line, or the trailer section."""
        self._left = 0
        """Bytes of the chunk that are still to come."""
        self._hash = sha256()
        self._chunk_signature = ""
        self._decoded = 0
        self._fault: S3Fault | None = None

    def feed(self, data: bytes | memoryview) -> list[bytes | memoryview]:
        """The decoded pieces in `data`, perhaps none; views where `data` is one.

        Raises S3Fault: SignatureDoesNotMatch, IncompleteBody (more than announced), InvalidRequest (framing).
        """
        if self._fault is not None:
            raise self._fault
        try:
            return self._feed(data)
        except S3Fault as fault:
            self._fault = fault
            raise

    def finish(self) -> Mapping[str, str]:
        """To be called at the end of the body: the trailer fields, names in lower case. Every byte is proved only after
        it has returned. Raises S3Fault, also when the body is not whole (IncompleteBody)."""
        if self._fault is not None:
            raise self._fault
        try:
            return self._finish()
        except S3Fault as fault:
            self._fault = fault
            raise

    def _feed(self, data: bytes | memoryview) -> list[bytes | memoryview]:
        pieces: list[bytes | memoryview] = []
        pos, end = 0, len(data)
        while pos < end:
            match self._state:
                case _State.DATA:
                    piece = data[pos : pos + self._left] if pos or self._left < end else data
                    pos += len(piece)
                    self._take(piece)
                    pieces.append(piece)
                case _State.SIZE:
                    pos = self._line(data, pos)
                case _State.DATA_END:
                    pos = self._data_end(data, pos)
                case _State.TRAILER | _State.DONE:
                    self._held += data[pos : pos + MAX_TRAILER_BYTES + 1]
                    if len(self._held) > MAX_TRAILER_BYTES:
                        _refuse_trailer(f"it is longer than {MAX_TRAILER_BYTES} bytes.")
                    pos = end
        return pieces

    # -- a chunk ----------------------------------------------------------------------------------------------------

    def _line(self, data: bytes | memoryview, pos: int) -> int:
        """Take up (a part of) a size line from `pos`; the position behind it."""
        part, newline, _ = bytes(data[pos : pos + MAX_LINE_BYTES + 1]).partition(b"\n")
        if len(self._held) + len(part) > MAX_LINE_BYTES:
            _refuse("a size line is too long")
        self._held += part
        if not newline:
            return pos + len(part)
        line = bytes(self._held)
        self._held.clear()
        if not line.endswith(b"\r"):
            _refuse("a size line does not end in CR LF")
        self._begin(line[:-1])
        return pos + len(part) + 1

    def _begin(self, line: bytes) -> None:
        matched = (_SIGNED_LINE if self._seed else _UNSIGNED_LINE).match(line)
        if matched is None:
            wanted = "<size in hex>;chunk-signature=<64 hex digits>" if self._seed else "<size in hex>"
            _refuse(f"a size line must read {wanted}")
        self._left = int(matched[1], 16)
        if self._seed:
            self._chunk_signature = matched[2].decode()
            self._hash = sha256()
        if self._decoded + self._left > self.decoded_length:
            raise S3Fault(
                Code.INCOMPLETE_BODY,
                f"The chunks hold more than the {self.decoded_length} bytes of x-amz-decoded-content-length.",
            )
        if self._left:
            self._state = _State.DATA
            return
        self._check_signature()
        if self._decoded != self.decoded_length:
            _incomplete(self._decoded, self.decoded_length)
        self._state = _State.TRAILER

    def _take(self, piece: bytes | memoryview) -> None:
        self._left -= len(piece)
        self._decoded += len(piece)
        if self._seed:
            self._hash.update(piece)
        if not self._left:
            self._check_signature()
            self._state = _State.DATA_END

    def _data_end(self, data: bytes | memoryview, pos: int) -> int:
        taken = data[pos : pos + 2 - len(self._held)]
        self._held += taken
        if not b"\r\n".startswith(self._held):
            _refuse("the data of a chunk is longer than its size")
        if len(self._held) == 2:
            self._held.clear()
            self._state = _State.SIZE
        return pos + len(taken)

    def _check_signature(self) -> None:
        """That of the chunk whose last byte was taken up."""
        seed = self._seed
        if seed is None:
            return
        text = (
            f"AWS4-HMAC-SHA256-PAYLOAD\n{seed.timestamp}\n{seed.scope}\n{self._last_signature}\n"
            f"{EMPTY_SHA256}\n{self._hash.hexdigest()}"
        )
        if not hmac.compare_digest(signature(seed.key, text), self._chunk_signature):
            raise S3Fault(
                Code.SIGNATURE_DOES_NOT_MATCH, "The signature of a chunk does not match its bytes; nothing was stored."
            )
        self._last_signature = self._chunk_signature

    # -- the end ----------------------------------------------------------------------------------------------------

    def _finish(self) -> Mapping[str, str]:
        if self._state is not _State.TRAILER:
            if self._state is _State.DONE:
                raise RuntimeError("the body was finished before")
            _incomplete(self._decoded, self.decoded_length)
        self._state = _State.DONE
        section = bytes(self._held)
        if not self._with_trailer:
            if section not in (b"", b"\r\n"):
                _refuse("there is more behind the last chunk")
            return {}
        trailers = _trailers_of(section)
        if self._seed:
            self._check_trailer_signature(self._seed, trailers)
        if trailers.keys() != self._trailer_names:
            found, wanted = (", ".join(sorted(names)) or "none" for names in (trailers, self._trailer_names))
            _refuse_trailer(f"x-amz-trailer announces {wanted}, and there is {found}.")
        return trailers

    def _check_trailer_signature(self, seed: ChunkSeed, trailers: dict[str, str]) -> None:
        given = trailers.pop(_TRAILER_SIGNATURE, None)
        if given is None or _HEX_SIGNATURE.match(given) is None:
            _refuse_trailer(f"{_TRAILER_SIGNATURE} is needed, with 64 hex digits.")
        canonical = "".join(f"{name}:{value}\n" for name, value in trailers.items())
        text = (
            f"AWS4-HMAC-SHA256-TRAILER\n{seed.timestamp}\n{seed.scope}\n{self._last_signature}\n"
            f"{sha256(canonical.encode()).hexdigest()}"
        )
        if not hmac.compare_digest(signature(seed.key, text), given):
            raise S3Fault(Code.SIGNATURE_DOES_NOT_MATCH, "The signature of the trailer does not match it.")


def _trailers_of(section: bytes) -> dict[str, str]:
    """The fields behind the last chunk, in their order.

    Lines may end in LF alone and be followed by blank ones, as minio-go writes them: nothing else can follow them, for
    the body ends here.
    """
    trailers: dict[str, str] = {}
    if section and not section.endswith(b"\n"):
        _refuse_trailer("its last line has no end.")
    for line in section.split(b"\n"):
        line = line.removesuffix(b"\r")
        if not line:
            continue
        matched = _TRAILER_LINE.match(line)
        if matched is None:
            _refuse_trailer("a line must read <name>:<value>.")
        name = matched[1].decode().lower()
        if name in trailers or len(trailers) >= MAX_TRAILERS:
            _refuse_trailer("a field is there twice, or there are too many.")
        trailers[name] = matched[2].decode()
    return trailers


def decoder_of(fields: Fields, payload: Payload, seed: ChunkSeed | None) -> ChunkDecoder:
    """The decoder of a request's body, by its headers. Raises S3Fault.

    `payload` and `seed` are those of the verified request; of an anonymous one, `payload_of` and None.
    """
    values = joined(fields)
    if payload.has_signed_chunks and seed is None:
        raise S3Fault(Code.ACCESS_DENIED, "The chunks are signed, but the request is not.")
    names = (name.strip().lower() for name in values.get(b"x-amz-trailer", b"").decode("latin-1").split(","))
    length = decoded_length_of(values.get(b"x-amz-decoded-content-length"))
    return ChunkDecoder(payload, seed, length, frozenset(name for name in names if name))


def decoded_length_of(value: bytes | None) -> int:
    """x-amz-decoded-content-length. Raises S3Fault: MissingContentLength when it is not there, InvalidArgument."""
    if value is None:
        raise S3Fault(Code.MISSING_CONTENT_LENGTH, "A chunked upload needs x-amz-decoded-content-length.")
    if _LENGTH.match(value) is None:
        raise S3Fault(
            Code.INVALID_ARGUMENT,
            "x-amz-decoded-content-length is no number.",
            extra=(("ArgumentName", "x-amz-decoded-content-length"), ("ArgumentValue", value.decode("latin-1"))),
        )
    return int(value)


def stored_encoding(content_encoding: str) -> str:
    """Content-Encoding as it is to be stored: without aws-chunked, which is gone from the bytes. May be empty."""
    kept = [coding for coding in content_encoding.split(",") if coding.strip().lower() != "aws-chunked"]
    return ",".join(kept).strip()


def _refuse(what: str) -> NoReturn:
    raise S3Fault(Code.INVALID_REQUEST, f"The aws-chunked body is malformed: {what}; nothing was stored.")


def _refuse_trailer(what: str) -> NoReturn:
    raise S3Fault(Code.MALFORMED_TRAILER, f"The trailer of the aws-chunked body is malformed: {what}")


def _incomplete(got: int, wanted: int) -> NoReturn:
    raise S3Fault(Code.INCOMPLETE_BODY, f"The chunks hold {got} of the {wanted} bytes announced; nothing was stored.")
