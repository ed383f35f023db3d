"""What Riak CS's headers and the gateway's records say of a stored object: size, date, checksum, parts."""

from __future__ import annotations

from collections.abc import Mapping

from controlplane.gateway.ranges import Wanted
from controlplane.gateway.s3.answers import Fields
from controlplane.ports.errors import Unavailable
from controlplane.s3.dates import MalformedDate, parse_http_date
from controlplane.s3.documents.checksum_elements import StoredChecksum
from controlplane.s3.documents.object_extras import ObjectExtras
from controlplane.s3.etag import is_multipart, unquote_etag
from controlplane.s3.fault import Code, S3Fault


def length_of(found: Mapping[str, str]) -> int | None:
    text = found.get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() else None


def modified_at(found: Mapping[str, str]) -> float:
    try:
        return parse_http_date(found.get("last-modified", ""))
    except MalformedDate as error:
        raise Unavailable("Riak CS sent an object without a Last-Modified that can be read") from error


def checksum_fields(checksum: StoredChecksum | None) -> Fields:
    """x-amz-checksum-* and its type, for the answer."""
    if checksum is None:
        return []
    return [
        (checksum.algorithm.header.encode(), checksum.text.encode()),
        (b"x-amz-checksum-type", checksum.type.value.encode()),
    ]


class OnePart:
    """`wanted` None: all there is. `count` 0: the object was not put together of parts."""

    __slots__ = ("_checksum", "_count", "wanted")

    def __init__(self, wanted: Wanted | None, count: int, checksum: StoredChecksum | None) -> None:
        self.wanted = wanted
        self._count = count
        self._checksum = checksum

    def fields(self, *, checked: bool) -> Fields:
        """What the answer says of the part. `checked`: its checksum too."""
        named = checksum_fields(self._checksum) if checked else []
        return [*named, (b"x-amz-mp-parts-count", str(self._count).encode())] if self._count else named


def part_of(found: Mapping[str, str], kept: ObjectExtras, number: int) -> OnePart:
    """One part of the object; what was put at once is one. Raises S3Fault InvalidPartNumber; NotImplemented where the
    borders of the parts are not known: it was completed past the gateways."""
    size = length_of(found)
    if not is_multipart(unquote_etag(found.get("etag", ""))):
        if number > 1:
            raise S3Fault(Code.INVALID_PART_NUMBER)
        return OnePart(Wanted(0, None) if size else None, 0, kept.checksum)
    if not kept.parts or sum(part.size for part in kept.parts) != size:
        raise S3Fault(Code.NOT_IMPLEMENTED, "The borders of this object's parts are not known here: read it by Range.")
    first = 0
    for part in kept.parts:
        if part.number == number:
            wanted = Wanted(first, first + part.size - 1) if part.size else None
            return OnePart(wanted, len(kept.parts), part.checksum)
        first += part.size
    raise S3Fault(Code.INVALID_PART_NUMBER)
