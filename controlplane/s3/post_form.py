"""The multipart/form-data body of a POST Object request (RFC 7578), read as it comes.

The fields come before the file and are bounded; the file is streamed in constant memory; what follows the file is
ignored, as S3 does.
"""

from __future__ import annotations

from collections.abc import Mapping


class FormReader:
    """Reads one form. Every malformed body raises S3Fault MalformedPOSTRequest or a code that says more."""

    def __init__(self, content_type: str) -> None:
        """`content_type` is the header. Raises S3Fault: RequestIsNotMultiPartContent, MalformedPOSTRequest."""
        raise NotImplementedError

    @property
    def fields(self) -> Mapping[str, str] | None:
        """The fields before the file, names in lower case; None until the file begins. `file` is not among them."""
        raise NotImplementedError

    @property
    def filename(self) -> str:
        """The client's name of the file, for ${filename}."""
        raise NotImplementedError

    def feed(self, data: bytes) -> list[bytes]:
        """The pieces of the file in `data`, perhaps none. Raises S3Fault."""
        raise NotImplementedError

    def finish(self) -> None:
        """To be called at the end of the body. Raises S3Fault when the form is not whole or has no file."""
        raise NotImplementedError
