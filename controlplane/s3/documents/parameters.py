"""Query parameters that several listings share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

from controlplane.s3.fault import Code, S3Fault
from controlplane.s3.uri import Query

MAX_PAGE: Final = 1000
_MAX_INTEGER: Final = 2**31 - 1


def parameters_of(query: Query) -> Mapping[str, str]:
    """By name. Raises InvalidArgument when a name stands twice: two readers would take different ones."""
    found = dict(query)
    if len(found) != len(query):
        twice = next(name for name, _ in query if [other for other, _ in query].count(name) > 1)
        raise invalid_argument(twice, found[twice], f"The parameter {twice[:40]} stands twice.")
    return found


def invalid_argument(name: str, value: str, message: str) -> S3Fault:
    return S3Fault(Code.INVALID_ARGUMENT, message, extra=(("ArgumentName", name[:80]), ("ArgumentValue", value[:1024])))


def page_size(parameters: Mapping[str, str], name: str) -> int:
    """Of max-keys and its like: 0 to 1000, where more is 1000. Raises InvalidArgument."""
    given = parameters.get(name, "")
    if given == "":
        return MAX_PAGE
    if not (given.isascii() and given.isdecimal()) or len(given) > 10 or int(given) > _MAX_INTEGER:
        raise invalid_argument(name, given, f"Provided {name} not an integer or within integer range")
    return min(int(given), MAX_PAGE)


def number(parameters: Mapping[str, str], name: str) -> int:
    """Of part-number-marker: 0 when absent. Raises InvalidArgument."""
    given = parameters.get(name, "") or "0"
    if not (given.isascii() and given.isdecimal()) or len(given) > 10 or int(given) > _MAX_INTEGER:
        raise invalid_argument(name, given, f"Provided {name} not an integer or within integer range")
    return int(given)


def url_encoded(parameters: Mapping[str, str]) -> bool:
    """Whether keys are to be written url-encoded. Raises InvalidArgument for another encoding-type."""
    given = parameters.get("encoding-type", "")
    if given and given.lower() != "url":
        raise invalid_argument("encoding-type", given, "Invalid Encoding Method specified in Request")
    return given != ""


def written(text: str, url: bool) -> str:
    """A key, prefix or marker as an answer has it. Slashes stay; a space is %20, which every client decodes."""
    return quote(text, safe="/~") if url else text
