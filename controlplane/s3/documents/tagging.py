"""Tags of objects and buckets: the document, the header, the rules.

Source: Amazon S3 User Guide, "Categorizing your storage using tags". Limits: 10 tags of an object, 50 of a bucket, keys
of 1 to 128 and values of up to 256 characters.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import Enum
from typing import Final, TypeAlias
from urllib.parse import parse_qsl

from controlplane.s3.documents.request_xml import malformed, only, request_root, text
from controlplane.s3.fault import Code, S3Fault
from controlplane.s3.xml_text import document, element

Tags: TypeAlias = tuple[tuple[str, str], ...]
"""Keys, each once, and values, in the order of the request."""

MAX_KEY: Final = 128
MAX_VALUE: Final = 256
_ALLOWED = re.compile(r"[\w\s.:/=+\-@]*\Z")


class Tagged(Enum):
    """What tags are of; the value is how many it may have."""

    OBJECT = 10
    BUCKET = 50


def checked_tags(tags: Iterable[tuple[str, str]], of: Tagged) -> Tags:
    """Raises InvalidTag."""
    found = tuple(tags)
    if len(found) > of.value:
        raise _invalid(f"{of.name.capitalize()} tags cannot be greater than {of.value}", "")
    for key, value in found:
        if not 1 <= len(key) <= MAX_KEY or not _ALLOWED.match(key):
            raise _invalid("The TagKey you have provided is invalid", key)
        if len(value) > MAX_VALUE or not _ALLOWED.match(value):
            raise _invalid("The TagValue you have provided is invalid", key)
        if key.lower().startswith("aws:"):
            raise _invalid("System tags cannot be added/updated by requester", key)
    if len({key for key, _ in found}) != len(found):
        raise _invalid("Cannot provide multiple Tags with the same key", "")
    return found


def _invalid(message: str, key: str) -> S3Fault:
    return S3Fault(Code.INVALID_TAG, message, extra=(("TagKey", key[:256]),) if key else ())


def parse_tagging(body: bytes, of: Tagged) -> Tags:
    """The tags of a Tagging document: a request's body, or the field `tagging` of a form. Raises MalformedXML,
    InvalidTag."""
    root = request_root(body, "Tagging")
    only(root, ("TagSet",))
    tag_set = root.find("TagSet")
    if tag_set is None:
        raise malformed("Tagging has no TagSet.")
    tags = []
    for child in tag_set.children:
        if child.name != "Tag":
            raise malformed(f"TagSet has an unexpected {child.name[:80]}.")
        only(child, ("Key", "Value"))
        tags.append((text(child, "Key"), text(child, "Value")))
    return checked_tags(tags, of)


def parse_tagging_header(value: str) -> Tags:
    """The tags of x-amz-tagging: `key=value&key2=value2`, url-encoded. Raises InvalidArgument, InvalidTag."""
    try:
        tags = parse_qsl(value, keep_blank_values=True, errors="strict", max_num_fields=1000)
    except ValueError as error:
        raise S3Fault(
            Code.INVALID_ARGUMENT, "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query "
            "parameters without tag name duplicates."
        ) from error  # fmt: skip
    return checked_tags(tags, Tagged.OBJECT)


def render_tagging(tags: Tags) -> bytes:
    written = "".join(f"<Tag>{element('Key', key)}{element('Value', value)}</Tag>" for key, value in tags)
    return document("Tagging", f"<TagSet>{written}</TagSet>")
