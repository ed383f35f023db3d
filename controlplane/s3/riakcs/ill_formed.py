"""XML as Riak CS writes it: keys with control characters stand in it raw (recording key-list), which is no XML.

Riak CS ignores encoding-type=url (key-list-encoding-url), so there is no other way to such keys.
"""

from __future__ import annotations

import re
from typing import Final

from controlplane.s3.xml import Element, MalformedXml, parse_xml

# A raw carriage return is well-formed, but a reader makes it a line feed: that would be another key.
_UNREADABLE: Final = re.compile(rb"[\x00-\x08\x0b-\x1f]|\xef\xbf[\xbe\xbf]")
_CONTROLS: Final = bytes(code for code in range(32) if code not in (9, 10))
_STAND_INS: Final = range(0x10F000, 0x10FFFE)
"""Private use: whichever of them the document does not have stands before a replaced character's number."""


def _replaced(document: bytes) -> tuple[bytes, str]:
    """The document with every unreadable character replaced by a stand-in and a printable one; and the stand-in."""
    mark = next((chr(code) for code in _STAND_INS if chr(code).encode() not in document), None)
    if mark is None:
        raise MalformedXml("the document has unreadable characters, and every character that could stand for them")

    def replacement(match: re.Match[bytes]) -> bytes:
        code = match[0][0] if len(match[0]) == 1 else 0x30 + (match[0][2] & 1)
        return mark.encode() + bytes([code + 0x40])

    return _UNREADABLE.sub(replacement, document), mark


def _restore(element: Element, mark: str) -> None:
    if mark in element.text:
        begin, *rest = element.text.split(mark)
        found = [begin]
        for piece in rest:
            code = ord(piece[0]) - 0x40
            found += (chr(code) if code < 0x20 else chr(0xFFFE + (code & 1)), piece[1:])
        element.text = "".join(found)
    for child in element.children:
        _restore(child, mark)


def parse_riakcs(document: bytes) -> Element:
    """The root element of an answer of Riak CS, with its texts as the keys really are. Raises MalformedXml."""
    # Nearly every answer is readable, and this says so in a tenth of the time of the expression.
    if len(document.translate(None, _CONTROLS)) == len(document) and b"\xef\xbf" not in document:
        return parse_xml(document)
    readable, mark = _replaced(document)
    try:
        root = parse_xml(readable)
    except MalformedXml:
        # Line ends of two characters, outside of the root element, where nothing may stand for one of them: others
        # write so, and Riak CS does not. What is really ill-formed is so as it is, too.
        return parse_xml(document)
    _restore(root, mark)
    return root
