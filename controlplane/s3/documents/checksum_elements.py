"""Checksums as elements of documents: ChecksumCRC32 and its like, ChecksumType."""

from __future__ import annotations

from dataclasses import dataclass

from controlplane.s3.checksums import Algorithm, ChecksumType
from controlplane.s3.documents.request_xml import malformed
from controlplane.s3.xml import Element
from controlplane.s3.xml_text import element


@dataclass(frozen=True, slots=True)
class StoredChecksum:
    """A checksum that is kept with an object or a part."""

    algorithm: Algorithm
    text: str
    """Base64; composite ones with `-<parts>`."""
    type: ChecksumType = ChecksumType.FULL_OBJECT


def checksum_element(checksum: StoredChecksum | None) -> str:
    """`<ChecksumCRC32>...</ChecksumCRC32>`, or nothing."""
    return "" if checksum is None else element(f"Checksum{checksum.algorithm.value}", checksum.text)


def checksum_elements(checksum: StoredChecksum | None) -> str:
    """The same with its ChecksumType."""
    if checksum is None:
        return ""
    return checksum_element(checksum) + element("ChecksumType", checksum.type.value)


def checksum_in(parent: Element) -> StoredChecksum | None:
    """The checksum that a request's element carries. Raises MalformedXML for several."""
    found = None
    for algorithm in Algorithm:
        text = parent.text_of(f"Checksum{algorithm.value}")
        if text is None:
            continue
        if found is not None:
            raise malformed("A part has one checksum at most.")
        found = StoredChecksum(algorithm, text.strip())
    return found
