"""A small XML reader for documents of the other side, which is not trusted.

Refused: document type declarations and with them every entity (expansion bombs, external files), processing
instructions, documents that are nested too deep or are too large.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, NoReturn
from xml.parsers import expat

MAX_DEPTH: Final = 16
MAX_BYTES: Final = 32 * 1024 * 1024
MAX_ELEMENTS: Final = 2_000_000


class MalformedXml(ValueError):
    """The text is not XML, or is XML that nobody honest sends."""


@dataclass(slots=True)
class Element:
    """One element; `name` is without its namespace, `text` the characters before, between and after the children."""

    name: str
    text: str = ""
    children: list[Element] = field(default_factory=list)

    def find(self, name: str) -> Element | None:
        return next((child for child in self.children if child.name == name), None)

    def text_of(self, name: str) -> str | None:
        """The text of the first child of that name; None when there is none."""
        child = self.find(name)
        return None if child is None else child.text


def _refuse(what: str) -> NoReturn:
    raise MalformedXml(f"the document has {what}, which is refused")


class _Reader:
    def __init__(self, max_elements: int) -> None:
        self.root: Element | None = None
        self._open: list[Element] = []
        self._texts: list[list[str]] = []
        """Of the open elements, joined at their end: adding piece to piece would take quadratic time."""
        self._left = max_elements

    def start(self, name: str, _attributes: dict[str, str]) -> None:
        self._left -= 1
        if self._left < 0:
            _refuse("too many elements")
        element = Element(name.rpartition("}")[2])
        if self._open:
            if len(self._open) >= MAX_DEPTH:
                _refuse(f"more than {MAX_DEPTH} levels")
            self._open[-1].children.append(element)
        else:
            self.root = element
        self._open.append(element)
        self._texts.append([])

    def end(self, _name: str) -> None:
        self._open.pop().text = "".join(self._texts.pop())

    def text(self, data: str) -> None:
        self._texts[-1].append(data)


def parse_xml(document: bytes, max_elements: int = MAX_ELEMENTS) -> Element:
    """The root element. Raises MalformedXml."""
    if len(document) > MAX_BYTES:
        _refuse(f"more than {MAX_BYTES} bytes")
    reader = _Reader(max_elements)
    parser = expat.ParserCreate(namespace_separator="}")
    parser.buffer_text = True
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    parser.StartDoctypeDeclHandler = lambda *_: _refuse("a document type declaration")
    parser.EntityDeclHandler = lambda *_: _refuse("an entity declaration")
    parser.ProcessingInstructionHandler = lambda *_: _refuse("a processing instruction")
    try:
        parser.Parse(document, True)
    except (expat.ExpatError, LookupError, ValueError) as error:
        raise error if isinstance(error, MalformedXml) else MalformedXml(f"not well-formed XML: {error}") from error
    if reader.root is None:
        raise MalformedXml("an empty document")
    return reader.root


_ESCAPES: Final = (
    {code: f"&#{code};" for code in range(32) if code not in (9, 10)}
    | {ord("&"): "&amp;", ord("<"): "&lt;", ord(">"): "&gt;", ord('"'): "&quot;"}
    | {0xFFFE: "&#65534;", 0xFFFF: "&#65535;"}
)


def escape(text: str) -> str:
    """`text` as character data or attribute value. Characters that XML 1.0 does not have become references, as S3
    writes them; no reader takes these, so a client whose keys have such characters asks for encoding-type=url."""
    return text.translate(_ESCAPES)
