"""CORS as browsers use it: the preflight, the request, and what a page may see of answers and of refusals."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.s3_gateway.wire import Answer, Wire, content_md5

RULES = b"""<CORSConfiguration>
<CORSRule><ID>site</ID><AllowedOrigin>https://*.example.org</AllowedOrigin><AllowedMethod>PUT</AllowedMethod>
<AllowedMethod>GET</AllowedMethod><AllowedHeader>x-amz-*</AllowedHeader><AllowedHeader>Content-Type</AllowedHeader>
<ExposeHeader>ETag</ExposeHeader><ExposeHeader>x-amz-request-id</ExposeHeader><MaxAgeSeconds>300</MaxAgeSeconds></CORSRule>
<CORSRule><AllowedOrigin>*</AllowedOrigin><AllowedMethod>GET</AllowedMethod></CORSRule>
</CORSConfiguration>"""
SITE = "https://www.example.org"
FORBIDDEN = (403, "AccessForbidden")


@pytest.fixture(scope="module")
def shared(wire: Wire) -> str:
    """A private bucket with rules and an object."""
    name = "cors-of-browsers"
    assert wire.ask("PUT", f"/{name}").status == 200
    assert wire.ask("PUT", f"/{name}/k", b"data").status == 200
    assert wire.ask("PUT", f"/{name}?cors", RULES, {"Content-MD5": content_md5(RULES)}).status == 200
    return name


def preflight(wire: Wire, target: str, origin: str, method: str, headers: str = "") -> Answer:
    asked = {"Origin": origin, "Access-Control-Request-Method": method}
    if headers:
        asked["Access-Control-Request-Headers"] = headers
    return wire.as_(None).ask("OPTIONS", target, headers=asked)


def seen(answer: Answer) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name.startswith("access-control-")}


def test_a_page_may_upload_by_a_presigned_url(wire: Wire, shared: str) -> None:
    target = wire.presigned("PUT", f"/{shared}/up", signed_headers={"x-amz-meta-a": "b"})
    asked = preflight(wire, target, SITE, "PUT", "content-type, x-amz-meta-a")
    assert (asked.status, asked.body) == (200, b"")
    assert seen(asked) == {
        "access-control-allow-origin": SITE,
        "access-control-allow-credentials": "true",
        "access-control-allow-methods": "PUT, GET",
        "access-control-allow-headers": "content-type, x-amz-meta-a",
        "access-control-expose-headers": "ETag, x-amz-request-id",
        "access-control-max-age": "300",
    }
    assert "origin" in asked.headers["vary"].lower()
    names = [name for name, _ in asked.fields]
    assert len(names) == len(set(names))  # a browser refuses two of them, even if they are equal
    done = wire.as_(None).ask("PUT", target, b"x", {"Origin": SITE, "x-amz-meta-a": "b", "Content-Type": "text/plain"})
    assert done.status == 200
    assert done.headers["access-control-allow-origin"] == SITE
    assert "ETag" in done.headers["access-control-expose-headers"]
    assert "origin" in done.headers["vary"].lower()


@pytest.mark.parametrize(
    ("origin", "method", "headers", "allowed"),
    [
        (SITE, "GET", "", SITE),
        (SITE, "GET", "X-AMZ-DATE", SITE),
        ("https://else.where", "GET", "", "*"),
        ("null", "GET", "", "*"),
        ("https://else.where", "PUT", "", None),
        ("https://else.where", "GET", "x-amz-date", None),
        (SITE, "DELETE", "", None),
        (SITE, "PUT", "authorization", None),
        ("http://www.example.org", "PUT", "", None),
        ("https://www.example.org.evil.com", "PUT", "", None),
    ],
)
def test_preflights(wire: Wire, shared: str, origin: str, method: str, headers: str, allowed: Any) -> None:
    answer = preflight(wire, f"/{shared}/k", origin, method, headers)
    if allowed is None:
        assert answer.outcome == FORBIDDEN
        assert seen(answer) == {}
    else:
        assert answer.status == 200
        assert answer.headers["access-control-allow-origin"] == allowed
        assert ("access-control-allow-credentials" in answer.headers) == (allowed != "*")


def test_a_page_sees_why_it_was_refused(wire: Wire, shared: str) -> None:
    """Without the headers a script learns nothing of a 403 or 404."""
    for target, status in ((f"/{shared}/k", 403), (f"/{shared}/missing", 403)):
        refused = wire.as_(None).ask("GET", target, headers={"Origin": SITE})
        assert refused.status == status
        assert refused.headers["access-control-allow-origin"] == SITE
    missing = wire.ask("GET", f"/{shared}/missing", headers={"Origin": SITE})
    assert missing.outcome == (404, "NoSuchKey")
    assert missing.headers["access-control-allow-origin"] == SITE


def test_rules_give_no_rights(wire: Wire, shared: str) -> None:
    assert wire.as_(None).ask("GET", f"/{shared}/k", headers={"Origin": SITE}).status == 403


def test_without_origin_or_rule_there_is_nothing_to_see(wire: Wire, shared: str, bucket: str) -> None:
    assert seen(wire.ask("GET", f"/{shared}/k")) == {}
    assert seen(wire.ask("PUT", f"/{shared}/k2", b"x", {"Origin": "https://else.where"})) == {}
    assert seen(wire.ask("PUT", f"/{bucket}/k", b"x", {"Origin": SITE})) == {}
    assert preflight(wire, f"/{bucket}/k", SITE, "GET").outcome == FORBIDDEN
    assert preflight(wire, "/no-such-bucket-at-all/k", SITE, "GET").outcome == FORBIDDEN


def test_rules_end_when_they_are_deleted(wire: Wire, bucket: str) -> None:
    assert wire.ask("PUT", f"/{bucket}?cors", RULES, {"Content-MD5": content_md5(RULES)}).status == 200
    assert preflight(wire, f"/{bucket}/k", SITE, "GET").status == 200
    assert wire.ask("DELETE", f"/{bucket}?cors").status == 204
    assert preflight(wire, f"/{bucket}/k", SITE, "GET").outcome == FORBIDDEN
    assert wire.ask("GET", f"/{bucket}?cors").outcome == (404, "NoSuchCORSConfiguration")


@pytest.mark.parametrize("headers", [{}, {"Origin": SITE}, {"Access-Control-Request-Method": "GET"}])
def test_options_that_are_no_preflight(wire: Wire, shared: str, headers: dict[str, str]) -> None:
    assert wire.as_(None).ask("OPTIONS", f"/{shared}/k", headers=headers).status == 400
