"""Listings as S3 has them, in every combination of prefix, delimiter, marker and page size."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from itertools import product
from urllib.parse import quote

import pytest

from tests.integration.s3_gateway.wire import Answer, Wire
from tests.support.riak_cs import User

KEYS = (
    "asdf+b", "b a r", "b%z", "bar", "baz", "cab", "dir/", "dir/a", "dir/b/c", "dir/b/d", "foo", "foo+1/bar", "foo/bar",
    "foo/bar/xyzzy", "quux ab/thud", "under_a", "under_b/x", "ü/ö", "\u65e5",
)  # fmt: skip


@pytest.fixture(scope="module")
def listed(wire: Wire) -> str:
    """A bucket that all tests here only read."""
    bucket = f"listed-{secrets.token_hex(4)}"
    assert wire.ask("PUT", f"/{bucket}").status == 200
    for key in KEYS:
        assert wire.ask("PUT", f"/{bucket}/{quote(key)}", key.encode()).status == 200
    return bucket


def expected(prefix: str, delimiter: str, after: str) -> list[str]:
    """Keys and common prefixes in order, by S3's rules."""
    found: list[str] = []
    for key in sorted(KEYS, key=str.encode):
        if not key.startswith(prefix):
            continue
        rolled = key
        if delimiter and (at := key.find(delimiter, len(prefix))) >= 0:
            rolled = key[: at + len(delimiter)]
        if rolled.encode() > after.encode() and rolled not in found:
            found.append(rolled)
    return found


def ask(wire: Wire, bucket: str, **query: object) -> Answer:
    pairs = "&".join(f"{name.replace('_', '-')}={quote(str(value), safe='')}" for name, value in query.items())
    answer = wire.ask("GET", f"/{bucket}?{pairs}")
    assert answer.status == 200, answer
    return answer


def names(page: Answer) -> list[str]:
    both = page.texts("Contents/Key") + page.texts("CommonPrefixes/Prefix")
    return sorted(both, key=str.encode)


PREFIXES = ("", "b", "dir/", "dir/b/", "foo", "foo/", "none", "ü", "under_", "\n")
DELIMITERS = ("", "/", "a", "%", " ", "+", "b/", "_", "none")


@pytest.mark.parametrize(("prefix", "delimiter"), list(product(PREFIXES, DELIMITERS)))
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_pages_of_both_versions_add_up_to_the_listing(
    prefix: str, delimiter: str, size: int, wire: Wire, listed: str
) -> None:
    if size == 1 and delimiter not in ("", "/", "a"):
        size = 2
    wanted = expected(prefix, delimiter, "")
    v1, v2 = _all_v1(wire, listed, prefix, delimiter, size), _all_v2(wire, listed, prefix, delimiter, size)
    assert (v1, v2) == (wanted, wanted)


def _all_v1(wire: Wire, bucket: str, prefix: str, delimiter: str, size: int) -> list[str]:
    found: list[str] = []
    marker = ""
    for _ in range(len(KEYS) + 1):
        page = ask(wire, bucket, prefix=prefix, delimiter=delimiter, marker=marker, max_keys=size)
        found += names(page)
        assert len(names(page)) <= size
        assert (page.text("Prefix"), page.text("MaxKeys"), page.text("Name")) == (prefix, str(size), bucket)
        if page.text("IsTruncated") == "false":
            assert page.texts("NextMarker") == []
            return found
        assert len(names(page)) == size
        marker = page.text("NextMarker") if delimiter else names(page)[-1]
        assert marker == names(page)[-1]
    raise AssertionError("the listing does not end")


def _all_v2(wire: Wire, bucket: str, prefix: str, delimiter: str, size: int) -> list[str]:
    found: list[str] = []
    token: dict[str, str] = {}
    for _ in range(len(KEYS) + 1):
        page = ask(wire, bucket, list_type=2, prefix=prefix, delimiter=delimiter, max_keys=size, **token)
        found += names(page)
        assert page.text("KeyCount") == str(len(names(page)))
        assert page.texts("Delimiter") == ([delimiter] if delimiter else [])
        if page.text("IsTruncated") == "false":
            assert page.texts("NextContinuationToken") == []
            return found
        token = {"continuation_token": page.text("NextContinuationToken")}
        assert token["continuation_token"]
    raise AssertionError("the listing does not end")


@pytest.mark.parametrize("after", ["", "a", "bar", "barz", "dir/b/", "foo/", "zzz", "\n", "ü"])
@pytest.mark.parametrize("delimiter", ["", "/"])
def test_starting_after_a_name(after: str, delimiter: str, wire: Wire, listed: str) -> None:
    # With a delimiter a common prefix is left out when it is not after the name itself.
    wanted = expected("", delimiter, after)
    assert names(ask(wire, listed, marker=after, delimiter=delimiter)) == wanted
    assert names(ask(wire, listed, list_type=2, start_after=after, delimiter=delimiter)) == wanted


def test_a_token_wins_over_start_after(wire: Wire, listed: str) -> None:
    page = ask(wire, listed, list_type=2, max_keys=1, start_after="bar")
    token = page.text("NextContinuationToken")
    after = ask(wire, listed, list_type=2, continuation_token=token, start_after="bar")
    assert after.text("StartAfter") == "bar"
    assert names(after) == expected("", "", "baz")
    assert after.text("ContinuationToken") == token


@pytest.mark.parametrize("token", ["nonsense", "AAAA", "%00"])
def test_a_token_that_was_not_given_out_is_refused(token: str, wire: Wire, listed: str) -> None:
    answer = wire.ask("GET", f"/{listed}?list-type=2&continuation-token={token}")
    assert answer.outcome == (400, "InvalidArgument")


def test_no_keys_asked_for(wire: Wire, listed: str) -> None:
    for version in ({}, {"list_type": 2}):
        page = ask(wire, listed, max_keys=0, **version)
        assert (names(page), page.text("IsTruncated")) == ([], "false")


def test_more_than_1000_keys_are_not_given_at_once(wire: Wire, listed: str) -> None:
    assert ask(wire, listed, max_keys=5000).text("MaxKeys") == "1000"
    assert ask(wire, listed).text("MaxKeys") == "1000"


@pytest.mark.parametrize("value", ["blah", "-1", "1.5", "99999999999999999999"])
@pytest.mark.parametrize("version", ["", "list-type=2&"])
def test_a_page_size_that_is_none_is_refused(value: str, version: str, wire: Wire, listed: str) -> None:
    assert wire.ask("GET", f"/{listed}?{version}max-keys={value}").outcome == (400, "InvalidArgument")


def test_encoding_type_url(wire: Wire, listed: str) -> None:
    for version in ({}, {"list_type": 2}):
        page = ask(wire, listed, delimiter="/", encoding_type="url", **version)
        assert "asdf%2Bb" in page.texts("Contents/Key")
        assert {"foo%2B1/", "foo/", "quux%20ab/"} <= set(page.texts("CommonPrefixes/Prefix")) or (
            "quux+ab/" in page.texts("CommonPrefixes/Prefix")
        )
        assert page.text("Delimiter") == "/"
    assert wire.ask("GET", f"/{listed}?encoding-type=base64").outcome == (400, "InvalidArgument")


def test_the_owner_is_told_when_asked_for(wire: Wire, listed: str, alice: User) -> None:
    assert set(ask(wire, listed).texts("Contents/Owner/ID")) == {alice.id}
    assert ask(wire, listed, list_type=2).texts("Contents/Owner") == []
    assert set(ask(wire, listed, list_type=2, fetch_owner="true").texts("Contents/Owner/ID")) == {alice.id}


def test_a_listing_agrees_with_the_heads(wire: Wire, listed: str) -> None:
    page = ask(wire, listed)
    columns: Sequence[list[str]] = [page.texts(f"Contents/{name}") for name in ("Key", "ETag", "Size", "StorageClass")]
    assert len(columns[0]) == len(KEYS)
    for key, etag, size, kind in zip(*columns, strict=True):
        head = wire.ask("HEAD", f"/{listed}/{quote(key)}")
        assert (head.headers["etag"], head.headers["content-length"], kind) == (etag, size, "STANDARD")


def test_a_bucket_that_is_not_there(wire: Wire) -> None:
    for query in ("", "?list-type=2", "?versions", "?uploads", "?acl", "?policy", "?cors", "?tagging", "?location"):
        assert wire.ask("GET", f"/no-such-bucket-{secrets.token_hex(4)}{query}").outcome == (404, "NoSuchBucket"), query
