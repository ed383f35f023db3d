"""Request bodies in XML, read strictly: MalformedXML for all that does not follow the schema."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from controlplane.s3.fault import Code, S3Fault
from controlplane.s3.xml import Element, MalformedXml, parse_xml

MAX_ELEMENTS: Final = 100_000
"""The largest request has 10,000 parts with four elements each."""


def malformed(message: str = "") -> S3Fault:
    return S3Fault(Code.MALFORMED_XML, message)


def request_root(body: bytes, name: str) -> Element:
    """The root element, of that name in any namespace (clients send none, S3's, or an old one). Raises MalformedXML."""
    try:
        root = parse_xml(body, MAX_ELEMENTS)
    except MalformedXml as error:
        raise malformed() from error
    if root.name != name:
        raise malformed(f"Expected the document {name}, not {root.name[:80]}.")
    return root


def only(element: Element, names: Collection[str]) -> None:
    """Raises MalformedXML when there is a child of another name, or one of these stands twice."""
    seen = set()
    for child in element.children:
        if child.name not in names or child.name in seen:
            raise malformed(f"{element.name[:80]} has an unexpected {child.name[:80]}.")
        seen.add(child.name)


def text(element: Element, name: str) -> str:
    """The text of a child that must be there. Raises MalformedXML."""
    found = element.text_of(name)
    if found is None:
        raise malformed(f"{element.name[:80]} has no {name}.")
    return found


def integer(element: Element, name: str, at_least: int = 0) -> int:
    """The number in a child that must be there. Raises MalformedXML."""
    given = text(element, name).strip()
    if not (given.isascii() and given.isdecimal()) or len(given) > 18 or int(given) < at_least:
        raise malformed(f"{name} must be an integer of at least {at_least}.")
    return int(given)


def boolean(element: Element, name: str, default: bool = False) -> bool:
    """True or false in a child that may be missing. Raises MalformedXML."""
    given = element.text_of(name)
    if given is None:
        return default
    if given.strip().lower() not in ("true", "false"):
        raise malformed(f"{name} is true or false.")
    return given.strip().lower() == "true"
