"""CORS: the document, and what browsers get."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.s3.documents.cors import METHODS, CorsRule, actual, parse_cors, preflight, render_cors
from controlplane.s3.fault import Code, S3Fault
from tests.support.s3_oracle import read, written

RULES = (
    CorsRule(("https://a.example",), ("PUT",), ("x-amz-*", "Content-Type"), ("ETag",), 600),
    CorsRule(("https://*.example",), ("GET", "PUT")),
    CorsRule(("*",), ("GET",), ("*",), id="all"),
)

words = st.text("abc.:/-", min_size=1, max_size=8)


@given(
    st.lists(
        st.builds(
            CorsRule,
            st.lists(words | words.map(lambda word: word + "*"), min_size=1, max_size=2).map(tuple),
            st.lists(st.sampled_from(METHODS), min_size=1, max_size=3).map(tuple),
            st.lists(words | st.just("*"), max_size=2).map(tuple),
            st.lists(words, max_size=2).map(tuple),
            st.none() | st.integers(0, 10**6),
            st.sampled_from(["", "rule <1>"]),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_the_document_round_trips_and_botocore_agrees(rules: list[CorsRule]) -> None:
    document = render_cors(tuple(rules))
    assert parse_cors(document) == tuple(rules)
    found = read("GetBucketCors", document)
    assert parse_cors(written("PutBucketCors", Bucket="b", CORSConfiguration=found)) == tuple(rules)


def rule(inner: str) -> bytes:
    return f"<CORSConfiguration><CORSRule>{inner}</CORSRule></CORSConfiguration>".encode()


GET = "<AllowedMethod>GET</AllowedMethod>"
ANY = "<AllowedOrigin>*</AllowedOrigin>"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"<CORSConfiguration/>", Code.MALFORMED_XML),
        (b"zzz", Code.MALFORMED_XML),
        (rule(ANY), Code.MALFORMED_XML),
        (rule(GET), Code.MALFORMED_XML),
        (rule(ANY + GET + "<Sudo/>"), Code.MALFORMED_XML),
        (rule(ANY + GET + "<MaxAgeSeconds>soon</MaxAgeSeconds>"), Code.MALFORMED_XML),
        (rule(ANY + GET + f"<ID>{'x' * 256}</ID>"), Code.MALFORMED_XML),
        (
            b"<CORSConfiguration>" + (f"<CORSRule>{ANY}{GET}</CORSRule>" * 101).encode() + b"</CORSConfiguration>",
            Code.MALFORMED_XML,
        ),
        (rule(ANY + "<AllowedMethod>PATCH</AllowedMethod>"), Code.INVALID_REQUEST),
        (rule(ANY + "<AllowedMethod>get</AllowedMethod>"), Code.INVALID_REQUEST),
        (rule("<AllowedOrigin>http://*.*</AllowedOrigin>" + GET), Code.INVALID_REQUEST),
        (rule(ANY + GET + "<AllowedHeader>*-*</AllowedHeader>"), Code.INVALID_REQUEST),
        (rule(ANY + GET + "<ExposeHeader>x-*</ExposeHeader>"), Code.INVALID_REQUEST),
        (rule(ANY + GET + "<ExposeHeader>a\nb: c</ExposeHeader>"), Code.INVALID_REQUEST),
        (rule("<AllowedOrigin/>" + GET), Code.INVALID_REQUEST),
    ],
)
def test_what_is_refused(body: bytes, code: Code) -> None:
    with pytest.raises(S3Fault) as caught:
        parse_cors(body)
    assert caught.value.code is code


def asked(origin: str, method: str, headers: str = "") -> dict[str, str]:
    found = {"origin": origin, "access-control-request-method": method}
    return found | ({"access-control-request-headers": headers} if headers else {})


@pytest.mark.parametrize(
    ("origin", "method", "headers", "allowed_origin", "credentials"),
    [
        ("https://a.example", "PUT", "X-Amz-Date, content-type", "https://a.example", True),
        ("https://a.example", "PUT", "", "https://a.example", True),
        ("https://b.example", "PUT", "", "https://b.example", True),
        ("https://b.example", "PUT", "content-type", None, False),
        ("https://a.example", "PUT", "x-other", None, False),
        ("https://a.example", "GET", "", "https://a.example", True),
        ("https://a.example", "GET", "x-other", "*", False),
        ("http://elsewhere", "GET", "anything", "*", False),
        ("http://elsewhere", "PUT", "", None, False),
        ("http://elsewhere", "DELETE", "", None, False),
        ("https://.example", "PUT", "", "https://.example", True),
        ("HTTPS://b.example", "PUT", "", None, False),
    ],
)
def test_preflights(origin: str, method: str, headers: str, allowed_origin: str | None, credentials: bool) -> None:
    if allowed_origin is None:
        with pytest.raises(S3Fault) as caught:
            preflight(RULES, asked(origin, method, headers))
        assert (caught.value.code, caught.value.status) == (Code.ACCESS_FORBIDDEN, 403)
        return
    found = dict(preflight(RULES, asked(origin, method, headers)))
    assert found["Access-Control-Allow-Origin"] == allowed_origin
    assert method in found["Access-Control-Allow-Methods"].split(", ")
    assert ("Access-Control-Allow-Credentials" in found) is credentials
    assert found["Vary"] == "Origin, Access-Control-Request-Headers, Access-Control-Request-Method"
    if headers:
        assert found["Access-Control-Allow-Headers"] == headers.lower().replace(",", ", ").replace("  ", " ")


def test_the_first_rule_that_matches_gives_its_answer() -> None:
    found = dict(preflight(RULES, asked("https://a.example", "PUT")))
    assert (found["Access-Control-Max-Age"], found["Access-Control-Expose-Headers"]) == ("600", "ETag")
    assert "Access-Control-Max-Age" not in dict(preflight(RULES, asked("https://b.example", "PUT")))


def test_what_is_no_preflight_is_a_bad_request() -> None:
    for headers in ({}, {"origin": "https://a.example"}, {"access-control-request-method": "GET"}, asked("x", "PATCH")):
        with pytest.raises(S3Fault) as caught:
            preflight(RULES, headers)
        assert caught.value.code is Code.BAD_REQUEST


def test_actual_requests() -> None:
    found = dict(actual(RULES, "https://a.example", "PUT"))
    assert (found["Access-Control-Allow-Origin"], found["Access-Control-Expose-Headers"]) == (
        "https://a.example",
        "ETag",
    )
    assert "Vary" in found
    assert dict(actual(RULES, "http://elsewhere", "GET"))["Access-Control-Allow-Origin"] == "*"
    assert actual(RULES, "http://elsewhere", "PUT") == ()
    assert actual((), "http://elsewhere", "GET") == ()
