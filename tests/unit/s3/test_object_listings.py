"""ListObjects, V2 and versions as botocore reads them; pages that lose and repeat nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.s3.access.principals import User
from controlplane.s3.documents import object_listing as listing
from controlplane.s3.documents.continuation import made_token, read_token
from controlplane.s3.documents.object_listing import ListedObject, ObjectPage
from controlplane.s3.fault import Code, S3Fault
from controlplane.s3.uri import Query
from tests.support.s3_oracle import read

OWNER = User("74c2" * 16, "alice & co")
AT = 1795384309.0

keys = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
plain_keys = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"), min_size=1)


def entry(key: str, size: int = 7) -> ListedObject:
    return ListedObject(key, size, "0bd6506986ec42e732ffb866d33bb14e", AT, "STANDARD", OWNER)


def page(*names: str, prefixes: tuple[str, ...] = (), more: str = "") -> ObjectPage:
    return ObjectPage(tuple(map(entry, names)), prefixes, bool(more), more)


def refused(query: Query, parse: Any = listing.parse_list_v2) -> S3Fault:
    with pytest.raises(S3Fault) as caught:
        parse("b", query)
    return caught.value


def test_version_1() -> None:
    request = listing.parse_list_v1("b", (("prefix", "d/"), ("delimiter", "/"), ("marker", "a"), ("max-keys", "2")))
    found = read("ListObjects", listing.render_list_v1(request, page("d/a", prefixes=("d/x/",), more="d/x/")))
    assert found == {
        "Name": "b", "Prefix": "d/", "Marker": "a", "NextMarker": "d/x/", "MaxKeys": 2, "Delimiter": "/",
        "IsTruncated": True, "CommonPrefixes": [{"Prefix": "d/x/"}],
        "Contents": [
            {
                "Key": "d/a", "Size": 7, "ETag": '"0bd6506986ec42e732ffb866d33bb14e"', "StorageClass": "STANDARD",
                "LastModified": datetime.fromtimestamp(AT, UTC),
                "Owner": {"ID": OWNER.id, "DisplayName": "alice & co"},
            }
        ],
    }  # fmt: skip


def test_version_2_with_and_without_owners() -> None:
    plain = listing.parse_list_v2("b", (("list-type", "2"), ("start-after", "a"), ("encoding-type", "url")))
    found = read("ListObjectsV2", listing.render_list_v2(plain, page("b c", "ü+%", more="ü+%")))
    assert found["NextContinuationToken"]
    assert found["StartAfter"] == "a"
    assert found["KeyCount"] == 2
    assert [at["Key"] for at in found["Contents"]] == ["b c", "ü+%"]
    assert not any("Owner" in at for at in found["Contents"])
    owners = listing.parse_list_v2("b", (("list-type", "2"), ("fetch-owner", "true")))
    found = read("ListObjectsV2", listing.render_list_v2(owners, page("k")))
    assert found["Contents"][0]["Owner"] == {"ID": OWNER.id, "DisplayName": "alice & co"}
    assert "NextContinuationToken" not in found
    assert found["IsTruncated"] is False


def test_versions_of_a_bucket_without_versioning() -> None:
    request = listing.parse_list_versions("b", (("versions", ""), ("key-marker", "a"), ("version-id-marker", "null")))
    found = read("ListObjectVersions", listing.render_versions(request, page("k", "l", more="l")))
    assert (found["NextKeyMarker"], found["NextVersionIdMarker"], found["KeyMarker"]) == ("l", "null", "a")
    assert [(at["Key"], at["VersionId"], at["IsLatest"], at["Owner"]["ID"]) for at in found["Versions"]] == [
        ("k", "null", True, OWNER.id),
        ("l", "null", True, OWNER.id),
    ]
    behind_a_prefix = read(
        "ListObjectVersions", listing.render_versions(request, page("a", prefixes=("k/",), more="k/"))
    )
    assert behind_a_prefix["NextKeyMarker"] == "k/"
    assert "NextVersionIdMarker" not in behind_a_prefix


@given(st.lists(keys, max_size=5), st.lists(keys, max_size=3))
def test_every_key_comes_back_url_encoded(names: list[str], prefixes: list[str]) -> None:
    asked: Query = (("encoding-type", "url"), ("prefix", "p\x01 +"), ("delimiter", "\x02"))
    shown = page(*names, prefixes=tuple(prefixes), more="m\x03")
    for operation, body, contents in (
        ("ListObjects", listing.render_list_v1(listing.parse_list_v1("b", asked), shown), "Contents"),
        ("ListObjectsV2", listing.render_list_v2(listing.parse_list_v2("b", asked), shown), "Contents"),
        ("ListObjectVersions", listing.render_versions(listing.parse_list_versions("b", asked), shown), "Versions"),
    ):
        found = read(operation, body)
        assert [at["Key"] for at in found.get(contents, [])] == names
        assert [at["Prefix"] for at in found.get("CommonPrefixes", [])] == prefixes
        assert found["Delimiter"] == "\x02"
        # botocore leaves the Prefix of version 1 as it comes.
        assert found["Prefix"] == ("p%01%20%2B" if operation == "ListObjects" else "p\x01 +")


@pytest.mark.parametrize("prefix", ["a b/ü", "\n", "100%", "a+b"])
def test_the_prefix_of_version_1_is_read_right_by_clients_that_decode_it(prefix: str) -> None:
    request = listing.parse_list_v1("b", (("encoding-type", "url"), ("prefix", prefix)))
    found = read("ListObjects", listing.render_list_v1(request, page()))["Prefix"]
    assert unquote_plus(found) == prefix
    if "%" not in prefix and "+" not in prefix:
        assert found == prefix


@given(st.lists(plain_keys, max_size=5))
def test_keys_without_control_characters_come_back_without_encoding(names: list[str]) -> None:
    body = listing.render_list_v2(listing.parse_list_v2("b", ()), page(*names))
    assert [at["Key"] for at in read("ListObjectsV2", body).get("Contents", [])] == names


@pytest.mark.parametrize(
    ("given_", "means"), [("", 1000), ("0", 0), ("1", 1), ("1000", 1000), ("1001", 1000), ("2147483647", 1000)]
)
def test_max_keys(given_: str, means: int) -> None:
    assert listing.parse_list_v1("b", (("max-keys", given_),)).max_keys == means


@pytest.mark.parametrize("given_", ["-1", "abc", "1.5", "²", "٣", "2147483648", "9" * 5000, " 1"])
def test_list_v1_max_keys_negative_and_the_like_are_refused(given_: str) -> None:
    """Recordings list-v1-max-keys-negative (the connection is closed), list-v1-max-keys-text."""
    assert refused((("max-keys", given_),), listing.parse_list_v1).code is Code.INVALID_ARGUMENT


def test_max_keys_0_lists_nothing_and_is_not_truncated() -> None:
    request = listing.parse_list_v2("b", (("max-keys", "0"),))
    found = read("ListObjectsV2", listing.render_list_v2(request, page()))
    assert (found["MaxKeys"], found["KeyCount"], found["IsTruncated"]) == (0, 0, False)


def test_an_empty_delimiter_is_none() -> None:
    """Recording list-v1-delimiter-empty."""
    request = listing.parse_list_v1("b", (("delimiter", ""),))
    assert request.delimiter == ""
    assert "Delimiter" not in read("ListObjects", listing.render_list_v1(request, page("k")))


@pytest.mark.parametrize(
    "query",
    [
        (("encoding-type", "base64"),),
        (("fetch-owner", "perhaps"),),
        (("continuation-token", "abc"),),
        (("continuation-token", "ü"),),
        (("prefix", "a"), ("prefix", "b")),
        (("delimiter", "x" * 1025),),
    ],
)
def test_bad_parameters(query: Query) -> None:
    assert refused(query).code is Code.INVALID_ARGUMENT


def test_a_version_marker_needs_a_key_marker() -> None:
    assert refused((("version-id-marker", "null"),), listing.parse_list_versions).code is Code.INVALID_ARGUMENT


@given(keys, st.text(max_size=5), st.text(max_size=5))
def test_tokens_lead_back_to_their_place_and_only_in_their_listing(after: str, prefix: str, delimiter: str) -> None:
    token = made_token(after, "b", prefix, delimiter)
    assert read_token(token, "b", prefix, delimiter) == after
    for scope in (("c", prefix, delimiter), ("b", prefix + "x", delimiter), ("b", prefix, delimiter + "x")):
        with pytest.raises(S3Fault):
            read_token(token, *scope)
    for other in (token[:-1], token + "A", token + "=", token.swapcase(), "A" + token):
        with pytest.raises(S3Fault):
            read_token(other, "b", prefix, delimiter)


def riak_cs(stored: list[str], prefix: str, delimiter: str, after: str, limit: int) -> ObjectPage:
    """Version 1 of the protocol, as its reference says it, over these keys."""
    objects: list[str] = []
    prefixes: list[str] = []
    for key in sorted(stored, key=str.encode):
        if not key.startswith(prefix) or key.encode() <= after.encode():
            continue
        rest = key[len(prefix) :]
        common = prefix + rest[: rest.index(delimiter) + len(delimiter)] if delimiter and delimiter in rest else ""
        if common and (common in prefixes or common == after):
            continue
        if len(objects) + len(prefixes) == limit:
            last = max([*objects, *prefixes], key=str.encode)
            return page(*objects, prefixes=tuple(prefixes), more=last)
        (prefixes if common else objects).append(common or key)
    return page(*objects, prefixes=tuple(prefixes))


@given(
    st.lists(st.text("ab/", min_size=1, max_size=6), unique=True, max_size=30),
    st.sampled_from(["", "a", "a/"]), st.sampled_from(["", "/", "b"]), st.integers(1, 5), st.booleans(),
)  # fmt: skip
def test_following_the_tokens_gives_every_key_once_in_order(
    stored: list[str], prefix: str, delimiter: str, limit: int, url: bool
) -> None:
    whole = riak_cs(stored, prefix, delimiter, "", 10_000)
    asked: Query = (("prefix", prefix), ("delimiter", delimiter), ("max-keys", str(limit)))
    asked += (("encoding-type", "url"),) if url else ()
    found, prefixes, token = [], [], None
    for _ in range(100):
        request = listing.parse_list_v2("b", asked + ((("continuation-token", token),) if token else ()))
        shown = riak_cs(stored, request.prefix, request.delimiter, request.after, request.max_keys)
        answer = read("ListObjectsV2", listing.render_list_v2(request, shown))
        found += [at["Key"] for at in answer.get("Contents", [])]
        prefixes += [at["Prefix"] for at in answer.get("CommonPrefixes", [])]
        assert answer["KeyCount"] == len(answer.get("Contents", [])) + len(answer.get("CommonPrefixes", []))
        if not answer["IsTruncated"]:
            break
        token = answer["NextContinuationToken"]
    assert found == [at.key for at in whole.objects]
    assert prefixes == list(whole.prefixes)
