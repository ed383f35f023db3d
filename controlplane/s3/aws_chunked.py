"""The aws-chunked coding of S3 uploads, decoded as it comes: signed, signed with trailer, unsigned with trailer.

Constant memory: a decoder holds one size line or one trailer section, both bounded, and hands out the data of a chunk
as it comes in. **Data is handed out before the signature of its chunk is known to hold**: nothing may be kept of an
upload unless `finish()` has returned.
"""

from __future__ import annotations

from collections.abc import Mapping

from controlplane.s3.claim import ChunkSeed, Payload


class ChunkDecoder:
    """Decodes one body. Every malformed framing, wrong signature or wrong length raises S3Fault, and stays raised."""

    def __init__(
        self,
        payload: Payload,
        seed: ChunkSeed | None,
        decoded_length: int,
        trailer_names: frozenset[str] = frozenset(),
    ) -> None:
        """`seed` None: the chunks are unsigned. `decoded_length` is x-amz-decoded-content-length. `trailer_names` are
        the lower-case names that x-amz-trailer announces."""
        raise NotImplementedError

    def feed(self, data: bytes) -> list[bytes]:
        """The decoded pieces in `data`, perhaps none. Raises S3Fault: IncompleteBody, SignatureDoesNotMatch,
        MalformedTrailerError, InvalidRequest."""
        raise NotImplementedError

    def finish(self) -> Mapping[str, str]:
        """To be called at the end of the body. The trailer fields, names in lower case. Raises S3Fault when the body
        is not whole. Only after it has returned is every byte proved."""
        raise NotImplementedError


def decoded_length_of(header: bytes | None) -> int:
    """x-amz-decoded-content-length. Raises S3Fault: MissingContentLength when it is not there, InvalidArgument."""
    raise NotImplementedError
