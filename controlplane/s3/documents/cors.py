"""CORS configurations: the document, and what a browser's request gets of them.

Source: Amazon S3 User Guide, "Elements of a CORS configuration", "How does Amazon S3 evaluate the CORS configuration
on a bucket?". The first rule that matches decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from controlplane.s3.documents.request_xml import integer, malformed, request_root
from controlplane.s3.fault import Code, S3Fault
from controlplane.s3.xml import Element
from controlplane.s3.xml_text import document, element, optional

METHODS: Final = ("GET", "PUT", "HEAD", "POST", "DELETE")
MAX_RULES: Final = 100
MAX_ID: Final = 255
VARY: Final = "Origin, Access-Control-Request-Headers, Access-Control-Request-Method"

Headers: TypeAlias = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class CorsRule:
    origins: tuple[str, ...]
    """Each with at most one `*`."""
    methods: tuple[str, ...]
    headers: tuple[str, ...] = ()
    """Allowed in requests, each with at most one `*`; names are compared without regard to case."""
    exposed: tuple[str, ...] = ()
    max_age: int | None = None
    """Seconds."""
    id: str = ""

    def origin_for(self, origin: str) -> str | None:
        """The pattern that allows this origin."""
        return next((pattern for pattern in self.origins if _matches(pattern, origin)), None)

    def allows_headers(self, names: Sequence[str]) -> bool:
        return all(any(_matches(pattern.lower(), name) for pattern in self.headers) for name in names)


Cors: TypeAlias = tuple[CorsRule, ...]


def _matches(pattern: str, text: str) -> bool:
    before, star, after = pattern.partition("*")
    if not star:
        return pattern == text
    return len(text) >= len(before) + len(after) and text.startswith(before) and text.endswith(after)


def _texts(parent: Element, name: str) -> tuple[str, ...]:
    return tuple(child.text.strip() for child in parent.children if child.name == name)


_ELEMENTS: Final = {"ID", "AllowedOrigin", "AllowedMethod", "AllowedHeader", "ExposeHeader", "MaxAgeSeconds"}


def _rule(parent: Element) -> CorsRule:
    if parent.name != "CORSRule" or any(child.name not in _ELEMENTS for child in parent.children):
        raise malformed("CORSConfiguration has an unexpected element.")
    rule = CorsRule(
        _texts(parent, "AllowedOrigin"),
        _texts(parent, "AllowedMethod"),
        _texts(parent, "AllowedHeader"),
        _texts(parent, "ExposeHeader"),
        integer(parent, "MaxAgeSeconds") if parent.find("MaxAgeSeconds") else None,
        parent.text_of("ID") or "",
    )
    if not rule.origins or not rule.methods or len(rule.id) > MAX_ID:
        raise malformed("A CORSRule has an AllowedOrigin, an AllowedMethod and an ID of at most 255 characters.")
    for method in rule.methods:
        if method not in METHODS:
            raise _invalid(f"Found unsupported HTTP method in CORS config. Unsupported method is {method[:40]}")
    for kind, patterns in (("AllowedOrigin", rule.origins), ("AllowedHeader", rule.headers)):
        for pattern in patterns:
            if pattern.count("*") > 1:
                raise _invalid(f'{kind} "{pattern[:120]}" can not have more than one wildcard.')
    for name in rule.exposed:
        if "*" in name:
            raise _invalid(f'ExposeHeader "{name[:120]}" contains wildcard. We currently do not support wildcard for '
                           "ExposeHeader.")  # fmt: skip
    for value in (*rule.origins, *rule.headers, *rule.exposed):
        if not value or not value.isprintable():
            raise _invalid("A CORSRule has an empty or unprintable value.")
    return rule


def _invalid(message: str) -> S3Fault:
    return S3Fault(Code.INVALID_REQUEST, message)


def parse_cors(body: bytes) -> Cors:
    """Raises MalformedXML, InvalidRequest."""
    root = request_root(body, "CORSConfiguration")
    if not 1 <= len(root.children) <= MAX_RULES:
        raise malformed(f"A CORSConfiguration has 1 to {MAX_RULES} rules.")
    return tuple(map(_rule, root.children))


def render_cors(rules: Cors) -> bytes:
    return document(
        "CORSConfiguration",
        "".join(
            f"<CORSRule>{optional('ID', rule.id or None)}"
            f"{''.join(element('AllowedOrigin', origin) for origin in rule.origins)}"
            f"{''.join(element('AllowedMethod', method) for method in rule.methods)}"
            f"{''.join(element('AllowedHeader', name) for name in rule.headers)}"
            f"{''.join(element('ExposeHeader', name) for name in rule.exposed)}"
            f"{optional('MaxAgeSeconds', rule.max_age)}</CORSRule>"
            for rule in rules
        ),
    )


def _answer(rule: CorsRule, origin: str) -> list[tuple[str, str]]:
    headers = [("Access-Control-Allow-Origin", "*" if rule.origin_for(origin) == "*" else origin)]
    if headers[0][1] != "*":
        headers.append(("Access-Control-Allow-Credentials", "true"))
    headers.append(("Access-Control-Allow-Methods", ", ".join(rule.methods)))
    if rule.exposed:
        headers.append(("Access-Control-Expose-Headers", ", ".join(rule.exposed)))
    if rule.max_age is not None:
        headers.append(("Access-Control-Max-Age", str(rule.max_age)))
    headers.append(("Vary", VARY))
    return headers


def preflight(rules: Cors, headers: Mapping[str, str]) -> Headers:
    """The headers of the answer (200, no body) to OPTIONS; `headers` with lower-case names.

    Raises BadRequest when the request is no preflight, AccessForbidden when no rule allows it.
    """
    origin, method = headers.get("origin", ""), headers.get("access-control-request-method", "")
    if not origin:
        raise S3Fault(Code.BAD_REQUEST, "Insufficient information. Origin request header needed.")
    if method not in METHODS:
        raise S3Fault(Code.BAD_REQUEST, f"Invalid Access-Control-Request-Method: {method[:40] or 'null'}")
    wanted = [name.strip().lower() for name in headers.get("access-control-request-headers", "").split(",")]
    wanted = [name for name in wanted if name]
    for rule in rules:
        if rule.origin_for(origin) is not None and method in rule.methods and rule.allows_headers(wanted):
            answer = _answer(rule, origin)
            if wanted:
                answer.insert(-1, ("Access-Control-Allow-Headers", ", ".join(wanted)))
            return tuple(answer)
    raise forbidden()


def forbidden() -> S3Fault:
    """The answer to a preflight that no rule allows, or of a bucket without a configuration."""
    return S3Fault(
        Code.ACCESS_FORBIDDEN,
        "The bucket's CORS configuration allows no such request; check its origins, methods and headers.",
    )


def actual(rules: Cors, origin: str, method: str) -> Headers:
    """The headers to add to the answer of a request with this Origin; empty when no rule allows it: the request is
    answered all the same, and the browser keeps the answer from the page.

    `method` is that of Access-Control-Request-Method where it is sent, which no page can do, else the request's own."""
    for rule in rules:
        if rule.origin_for(origin) is not None and method in rule.methods:
            return tuple(_answer(rule, origin))
    return ()
