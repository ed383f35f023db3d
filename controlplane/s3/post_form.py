"""The multipart/form-data body of a POST Object request (RFC 7578), read as it comes.

The fields come before the file and are bounded; the file is streamed in constant memory; fields behind the file are
ignored, as S3 does. The framing is read by the library `multipart`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header

from controlplane.s3.fault import Code, S3Fault

MAX_FIELDS_BYTES: Final = 20 * 1024
"""Of the names and values of the fields before the file; S3's own limit."""
MAX_FIELDS: Final = 100
_MAX_PREAMBLE_BYTES: Final = 64 * 1024
"""Of everything before the file: the fields and their framing."""
_MAX_BOUNDARY_BYTES: Final = 200
_NAME: Final = re.compile(r"[^\x00-\x1f\x7f]+\Z")
_HEADER_LIKE: Final = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+\Z", re.ASCII)
"""Of fields that become headers: browsers write line ends in a name as %0D%0A, and the library reads them so."""


class FormReader:
    """Reads one form. Every malformed body raises S3Fault MalformedPOSTRequest or a code that says more."""

    def __init__(self, content_type: str) -> None:
        """`content_type` is the header. Raises S3Fault: RequestIsNotMultiPartContent, MalformedPOSTRequest."""
        kind, options = parse_options_header(content_type)
        if kind != "multipart/form-data":
            raise S3Fault(Code.REQUEST_IS_NOT_MULTIPART)
        boundary = options.get("boundary", "")
        if not boundary or not boundary.isascii() or not boundary.isprintable() or len(boundary) > _MAX_BOUNDARY_BYTES:
            raise S3Fault(Code.MALFORMED_POST_REQUEST, "The Content-Type has no valid boundary.")
        self._parser = PushMultipartParser(boundary)
        self._fields: dict[str, str] = {}
        self._segment: MultipartSegment | None = None
        self._value = bytearray()
        self._filename = ""
        self._fields_bytes = self._fed = self._segments = 0
        self._in_file = self._file_seen = False

    @property
    def fields(self) -> Mapping[str, str] | None:
        """The fields before the file, names in lower case; None until the file begins. `file` is not among them."""
        return self._fields if self._file_seen else None

    @property
    def filename(self) -> str:
        """The client's name of the file, for ${filename}: without directories, which some browsers send."""
        return self._filename

    def feed(self, data: bytes) -> list[bytes]:
        """The pieces of the file in `data`, perhaps none. Raises S3Fault."""
        if not data:
            return []
        pieces: list[bytes] = []
        if not self._file_seen:
            self._fed += len(data)
        try:
            for event in self._parser.parse(data):
                if isinstance(event, MultipartSegment):
                    self._begin(event)
                elif event is None:
                    self._end()
                elif self._in_file:
                    pieces.append(bytes(event))
                elif not self._file_seen:
                    self._take(event)
        except MultipartError as error:
            raise S3Fault(Code.MALFORMED_POST_REQUEST, f"The form is malformed: {error}.") from error
        if not self._file_seen and self._fed > _MAX_PREAMBLE_BYTES:
            raise S3Fault(Code.MAX_POST_PRE_DATA_LENGTH_EXCEEDED)
        return pieces

    def finish(self) -> None:
        """To be called at the end of the body. Raises S3Fault when the form is not whole or has no file."""
        try:
            self._parser.close()
        except MultipartError as error:
            raise S3Fault(Code.MALFORMED_POST_REQUEST, "The form ends before its last boundary.") from error
        if not self._file_seen:
            raise S3Fault(Code.INCORRECT_NUMBER_OF_FILES)

    def _begin(self, segment: MultipartSegment) -> None:
        self._segment = segment
        self._segments += 1
        if self._segments > MAX_FIELDS:
            raise S3Fault(Code.MALFORMED_POST_REQUEST, f"The form has more than {MAX_FIELDS} fields.")
        if (segment.name or "").lower() == "file":
            if self._file_seen:
                raise S3Fault(Code.INCORRECT_NUMBER_OF_FILES)
            self._filename = (segment.filename or "").replace("\\", "/").rpartition("/")[2]
            self._in_file = self._file_seen = True

    def _take(self, data: bytes | bytearray) -> None:
        self._value += data
        self._fields_bytes += len(data)
        if self._fields_bytes > MAX_FIELDS_BYTES:
            raise S3Fault(Code.MAX_POST_PRE_DATA_LENGTH_EXCEEDED)

    def _end(self) -> None:
        segment, self._segment = self._segment, None
        if self._in_file:
            self._in_file = False
            return
        if self._file_seen or segment is None:
            return
        name = (segment.name or "").lower()
        self._fields_bytes += len(name)
        if name in self._fields or (_HEADER_LIKE if name.startswith("x-amz-") else _NAME).match(name) is None:
            raise S3Fault(Code.MALFORMED_POST_REQUEST, "A field has a malformed name, or that of another one.")
        try:
            self._fields[name] = self._value.decode()
        except UnicodeDecodeError as error:
            raise S3Fault(Code.MALFORMED_POST_REQUEST, f"The field {name[:80]!r} is no UTF-8.") from error
        self._value.clear()
