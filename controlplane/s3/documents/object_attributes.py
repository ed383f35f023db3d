"""GetObjectAttributes: what is asked for, and the answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from controlplane.s3.documents.checksum_elements import StoredChecksum, checksum_element, checksum_elements
from controlplane.s3.documents.parameters import invalid_argument, number, page_size
from controlplane.s3.xml_text import document, element

KNOWN: Final = frozenset({"ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"})


@dataclass(frozen=True, slots=True)
class AttributesRequest:
    names: frozenset[str]
    max_parts: int
    after: int
    """x-amz-part-number-marker."""


@dataclass(frozen=True, slots=True)
class ObjectPart:
    number: int
    size: int
    checksum: StoredChecksum | None = None


@dataclass(frozen=True, slots=True)
class Attributes:
    etag: str
    """Without quotes."""
    size: int
    storage_class: str = "STANDARD"
    checksum: StoredChecksum | None = None
    part_count: int = 0
    """0: it was not uploaded in parts."""
    parts: Sequence[ObjectPart] = ()
    """Empty when only their count is known."""


def parse_attributes_request(headers: Mapping[str, str]) -> AttributesRequest:
    """`headers` with lower-case names. Raises InvalidArgument for no attribute, and for unknown ones."""
    given = headers.get("x-amz-object-attributes", "")
    names = frozenset(name.strip() for name in given.split(",") if name.strip())
    if not names or not names <= KNOWN:
        raise invalid_argument(
            "x-amz-object-attributes", given, f"Name some of {', '.join(sorted(KNOWN))} in x-amz-object-attributes."
        )
    return AttributesRequest(names, page_size(headers, "x-amz-max-parts"), number(headers, "x-amz-part-number-marker"))


def _object_parts(request: AttributesRequest, found: Attributes) -> str:
    if not found.parts:
        return f"<ObjectParts><PartsCount>{found.part_count}</PartsCount></ObjectParts>"
    wanted = [part for part in found.parts if part.number > request.after]
    page = wanted[: request.max_parts]
    listed = "".join(
        f"<Part><PartNumber>{part.number}</PartNumber><Size>{part.size}</Size>{checksum_element(part.checksum)}</Part>"
        for part in page
    )
    return (
        f"<ObjectParts><PartsCount>{found.part_count}</PartsCount><PartNumberMarker>{request.after}</PartNumberMarker>"
        f"<NextPartNumberMarker>{page[-1].number if page else 0}</NextPartNumberMarker>"
        f"<MaxParts>{request.max_parts}</MaxParts>{element('IsTruncated', len(wanted) > len(page) > 0)}{listed}"
        "</ObjectParts>"
    )


def render_attributes(request: AttributesRequest, found: Attributes) -> bytes:
    """What was asked for and is there: an object without a checksum has no Checksum, one part no ObjectParts."""
    names = request.names
    return document(
        "GetObjectAttributesResponse",
        (element("ETag", found.etag) if "ETag" in names else "")
        + (
            f"<Checksum>{checksum_elements(found.checksum)}</Checksum>"
            if "Checksum" in names and found.checksum
            else ""
        )
        + (_object_parts(request, found) if "ObjectParts" in names and found.part_count else "")
        + (element("StorageClass", found.storage_class) if "StorageClass" in names else "")
        + (element("ObjectSize", found.size) if "ObjectSize" in names else ""),
    )
