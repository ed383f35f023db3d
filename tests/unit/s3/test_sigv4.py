"""SigV4 gives the signatures that botocore gives, and those of AWS's published examples."""

from __future__ import annotations

import time
from hashlib import sha256
from typing import Any
from unittest import mock

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from controlplane.s3 import sigv4
from controlplane.s3.sigv4 import EMPTY_SHA256, UNSIGNED_PAYLOAD, SignerV4
from controlplane.s3.uri import Query, encode_path, wire_query

EXAMPLE = SignerV4("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "us-east-1")
EXAMPLE_TIME = 1369353600.0  # 20130524T000000Z
EXAMPLE_HOST = "examplebucket.s3.amazonaws.com"


def signature_of(headers: dict[str, str]) -> str:
    return headers["authorization"].rpartition("Signature=")[2]


@pytest.mark.parametrize(
    ("path", "query", "expected"),
    [
        ("/", (("lifecycle", ""),), "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
        (
            "/",
            (("max-keys", "2"), ("prefix", "J")),
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
    ],
)
def test_the_published_examples_of_aws(path: str, query: Query, expected: str) -> None:
    headers = EXAMPLE.sign("GET", path, query, {"host": EXAMPLE_HOST}, EMPTY_SHA256, EXAMPLE_TIME)
    assert signature_of(headers) == expected


def test_the_published_examples_with_other_signed_headers() -> None:
    """The examples for GET and PUT of an object also sign Range and Date, which Millrace leaves unsigned."""
    for method, path, more, payload, expected in (
        (
            "GET",
            "/test.txt",
            [("range", "bytes=0-9")],
            EMPTY_SHA256,
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ),
        (
            "PUT",
            "/test$file.text",
            [("date", "Fri, 24 May 2013 00:00:00 GMT"), ("x-amz-storage-class", "REDUCED_REDUNDANCY")],
            sha256(b"Welcome to Amazon S3.").hexdigest(),
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
        ),
    ):
        headers = sorted(
            [
                ("host", EXAMPLE_HOST),
                ("x-amz-content-sha256", payload),
                ("x-amz-date", "20130524T000000Z"),
                *more,
            ]
        )
        names = ";".join(name for name, _ in headers)
        request = sigv4.canonical_request(method, encode_path(path), "", headers, names, payload)
        scope = sigv4.scope_of("20130524", "us-east-1", "s3")
        key = sigv4.signing_key("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "20130524", "us-east-1", "s3")
        assert sigv4.signature(key, sigv4.string_to_sign("20130524T000000Z", scope, request.encode())) == expected


@given(st.dictionaries(
    st.sampled_from(["x-amz-meta-a", "x-amz-meta-b", "content-type"]),
    st.text(st.sampled_from("a: \t\u00a0\u2003é"), max_size=6),
))  # fmt: skip
def test_values_are_signed_trimmed_and_with_single_blanks(headers: dict[str, str]) -> None:
    signer = sigv4.SignerV4("AK", "SK", "us-east-1")
    trimmed = {name: sigv4.canonical_header_value(value) for name, value in headers.items()}
    as_sent, canonical = (
        signer.sign("PUT", "/b/k", (), {"host": "h", **said}, sigv4.EMPTY_SHA256, 1e9) for said in (headers, trimmed)
    )
    assert as_sent["authorization"] == canonical["authorization"]


def test_the_signing_key_of_the_published_derivation() -> None:
    key = sigv4.signing_key("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "20120215", "us-east-1", "iam")
    assert key.hex() == "f4780e2d9f65fa895f9c67b32ce1baf0b0d8a43505a000a1a9e090d414db404d"


words = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)
values = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=30)


@given(
    method=st.sampled_from(["GET", "PUT", "HEAD", "DELETE", "POST"]),
    key=st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=40),
    query=st.dictionaries(words, words | st.just(""), max_size=4),
    metadata=st.dictionaries(st.from_regex(r"[a-z][a-z0-9-]{0,9}", fullmatch=True), values, max_size=4),
    region=st.sampled_from(["us-east-1", "eu-central-1"]),
    now=st.integers(min_value=0, max_value=4_000_000_000),
    payload=st.sampled_from([EMPTY_SHA256, UNSIGNED_PAYLOAD, "a" * 64]),
)
def test_it_agrees_with_botocore(
    method: str, key: str, query: dict[str, str], metadata: dict[str, str], region: str, now: int, payload: str
) -> None:
    pairs = tuple(query.items())
    headers = {"host": "store.test:8080", **{f"x-amz-meta-{name}": value for name, value in metadata.items()}}
    ours = SignerV4("AKID", "secret", region).sign(method, f"/bucket/{key}", pairs, headers, payload, now)

    url = f"http://store.test:8080{encode_path('/bucket/' + key)}"
    if pairs:
        url += "?" + wire_query(pairs)
    theirs: Any = AWSRequest(method=method, url=url, headers={**headers, "X-Amz-Content-SHA256": payload})
    theirs.context["payload_signing_enabled"] = True
    moment = time.gmtime(now)
    auth = S3SigV4Auth(Credentials("AKID", "secret"), "s3", region)
    with (
        mock.patch("botocore.auth.get_current_datetime", return_value=_Moment(moment), create=True),
        mock.patch.object(S3SigV4Auth, "payload", return_value=payload),
    ):
        auth.add_auth(theirs)
    assert ours["x-amz-date"] == theirs.headers["X-Amz-Date"]
    assert ours["authorization"] == theirs.headers["Authorization"]


class _Moment:
    """The part of a datetime that botocore's signer uses."""

    def __init__(self, moment: time.struct_time) -> None:
        self._moment = moment

    def strftime(self, form: str) -> str:
        return time.strftime(form, self._moment)


def test_a_signature_takes_microseconds() -> None:
    """The aim is about 10 us; the bound here is ten times that, for busy machines. The best of many is taken."""
    headers = {"host": "store.test:8080", "content-type": "application/octet-stream"}
    best = 1.0
    for turn in range(200):
        start = time.perf_counter()
        EXAMPLE.sign("PUT", f"/bucket/key-{turn}", (), headers, EMPTY_SHA256, 1_700_000_000.0)
        best = min(best, time.perf_counter() - start)
    assert best < 100e-6


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
@pytest.mark.parametrize("path", ["/bucket/key", "/bucket/a b+c/ü&%25=§", "/bucket/~a", "/b"])
def test_a_plain_request_is_signed_like_any_other(method: str, path: str) -> None:
    signer = SignerV4("AK", "SK", "eu-west-1")
    for now in (1_700_000_000.5, 1_700_000_000.9, 1_700_000_001.0):
        signed = signer.sign(method, path, (), {"host": "h:9000"}, EMPTY_SHA256, now)
        targets = ["/first", encode_path(path), "/last"]
        heads = signer.plain(method, targets, "h:9000", now).split("\r\n\r\n")
        assert [head.partition("\r\n")[0] for head in heads] == [*(f"{method} {at} HTTP/1.1" for at in targets), ""]
        assert dict(line.split(": ", 1) for line in heads[1].splitlines()[1:]) == signed


@given(
    path=st.sampled_from(["/bucket/key", "/bucket/a b+c/ü&%25=§%s", "/b"]),
    headers=st.dictionaries(
        st.sampled_from(["x-amz-meta-a%s", "x-amz-meta-b", "x-amz-acl", "content-type", "content-md5", "if-match"]),
        st.text(st.sampled_from("a: %sé"), max_size=6),
    ),
    length=st.integers(0, 1 << 50),
    seconds=st.lists(st.sampled_from([1_700_000_000.5, 1_700_000_000.9, 1_700_086_400.0]), min_size=1, max_size=3),
)
def test_a_head_that_is_sent_is_signed_like_any_other(
    path: str, headers: dict[str, str], length: int, seconds: list[float]
) -> None:
    signer = SignerV4("AK", "SK", "eu-west-1")
    for now in seconds:
        for host in ("h:9000", "h"):
            signed = signer.sign("PUT", path, (), {"host": host, **headers}, "a" * 64, now)
            line, *fields, end, rest = signer.head(
                "PUT", encode_path(path), host, headers, "a" * 64, length, now
            ).split("\r\n")
            assert (line, end, rest) == (f"PUT {encode_path(path)} HTTP/1.1", "", "")
            assert len(fields) == len(signed) + 1
            assert dict(field.split(": ", 1) for field in fields) == {**signed, "content-length": str(length)}
