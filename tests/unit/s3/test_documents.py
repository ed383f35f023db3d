"""Listings, errors and multipart documents are read as servers write them, and hostile ones are refused."""

from __future__ import annotations

from hashlib import md5
from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.s3 import dates, etag
from controlplane.s3.error_xml import ErrorDocument, parse_error
from controlplane.s3.listing import MalformedListing, parse_listing
from controlplane.s3.multipart_xml import parse_completed, parse_initiated, render_complete
from controlplane.s3.uri import canonical_query, encode_path, wire_query
from controlplane.s3.xml import MalformedXml, parse_xml

NS = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'


def entry(key: str, modified: str = "2026-11-22T21:57:32.000Z") -> str:
    return (
        f"<Contents><Key>{key}</Key><LastModified>{modified}</LastModified><ETag>&quot;0bd65&quot;</ETag>"
        "<Size>7</Size><StorageClass>STANDARD</StorageClass></Contents>"
    )


def listing(inner: str, *, truncated: str = "false") -> bytes:
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><ListBucketResult {NS}><Name>b</Name>'
        f"<IsTruncated>{truncated}</IsTruncated>{inner}</ListBucketResult>"
    ).encode()


def test_a_page_of_riak_cs_has_its_dates_and_raw_keys() -> None:
    page = parse_listing(listing(entry("a+b%2F", "20261122T215732Z"), truncated="true"))
    assert [(at.key, at.size, at.etag, at.modified_at) for at in page.entries] == [("a+b%2F", 7, "0bd65", 1795384652.0)]
    assert page.truncated
    assert (page.next_marker, page.next_token) == ("a+b%2F", None)


def test_a_page_of_aws_is_decoded_when_it_says_so() -> None:
    page = parse_listing(
        listing(
            "<EncodingType>url</EncodingType><NextMarker>x%2By</NextMarker>"
            "<CommonPrefixes><Prefix>d+1%2F</Prefix></CommonPrefixes>"
            "<NextContinuationToken>1ab+/=</NextContinuationToken>" + entry("a+b%2B%01"),
            truncated="true",
        )
    )
    assert [at.key for at in page.entries] == ["a b+\x01"]
    assert (page.prefixes, page.next_marker, page.next_token) == (("d 1/",), "x+y", "1ab+/=")


def test_without_a_marker_the_next_page_begins_after_the_last_key_or_prefix() -> None:
    both = entry("b") + "<CommonPrefixes><Prefix>c/</Prefix></CommonPrefixes>"
    assert parse_listing(listing(both, truncated="true")).next_marker == "c/"
    assert parse_listing(listing(both)).next_marker is None


@pytest.mark.parametrize(
    "inner",
    [
        "<Contents><Key>k</Key></Contents>",
        entry("k").replace("<Size>7</Size>", "<Size>many</Size>"),
        entry("k").replace("<Size>7</Size>", "<Size>-1</Size>"),
        entry("k", "yesterday"),
        entry(""),
    ],
)
def test_an_entry_that_lacks_something_spoils_the_page(inner: str) -> None:
    with pytest.raises(MalformedListing):
        parse_listing(listing(inner))


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"<html><body>502 Bad Gateway</body></html>",
        b"<Error><Code>SlowDown</Code></Error>",
        b"<ListBucketResult><IsTruncated>perhaps</IsTruncated></ListBucketResult>",
        b"<ListBucketResult></ListBucketResult>",
        listing(entry("k"))[:-9],
    ],
)
def test_what_is_no_listing_is_refused(document: bytes) -> None:
    with pytest.raises(MalformedListing):
        parse_listing(document)


@pytest.mark.parametrize("key", ["\x01", "a\rb", "a\r\nb", "a\tb", "\x00\x1f", "\ufffe"])
def test_control_characters_that_come_raw_are_those_of_the_key(key: str) -> None:
    """Riak CS ignores encoding-type=url: key-list-encoding-url."""
    assert parse_listing(listing(entry(key))).entries[0].key == key


def test_a_listing_may_have_line_ends_of_two_characters() -> None:
    lines = listing(entry("a") + entry("b")).replace(b"><", b">\r\n<") + b"\r\n"
    assert [found.key for found in parse_listing(lines).entries] == ["a", "b"]


BILLION = (
    """<!DOCTYPE l [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><ListBucketResult>&b;</ListBucketResult>"""
)


@pytest.mark.parametrize(
    "document",
    [
        BILLION.encode(),
        b'<!DOCTYPE l SYSTEM "file:///etc/passwd"><ListBucketResult/>',
        b'<!DOCTYPE l [<!ENTITY x SYSTEM "file:///etc/passwd">]><l>&x;</l>',
        b"<!DOCTYPE l><l/>",
        b"<?xml-stylesheet href='x'?><l/>",
        b"<l>" * 17 + b"</l>" * 17,
        b"<l>&unknown;</l>",
        b'<?xml version="1.0" encoding="no-such"?><l/>',
        b"<l/><l/>",
        b" " * 10,
    ],
)
def test_hostile_xml_is_refused(document: bytes) -> None:
    with pytest.raises(MalformedXml):
        parse_xml(document)


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_bytes_break_the_readers(document: bytes) -> None:
    assert parse_error(document) is None or document
    for read in (parse_xml, parse_listing, parse_initiated, parse_completed):
        try:
            read(document)
        except (MalformedXml, MalformedListing):
            continue


texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=30)


@given(code=st.from_regex(r"[A-Za-z]{1,20}", fullmatch=True), message=texts, resource=texts)
def test_an_error_that_is_written_is_read(code: str, message: str, resource: str) -> None:
    error = ErrorDocument(code, message, resource, "id")
    assert parse_error(error.render()) == error


@given(st.lists(texts.filter(bool), unique=True, max_size=10))
def test_keys_come_back_as_they_were(keys: list[str]) -> None:
    page = parse_listing(listing("".join(entry(escape(key)) for key in keys)))
    assert [at.key for at in page.entries] == keys


def test_an_error_of_riak_cs() -> None:
    document = (
        b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>NoSuchKey</Code><Message>The specified key does not exist.'
        b"</Message><RequestId>254179ff</RequestId><Resource>/b/nope</Resource>"
        b"<AWSAccessKeyId>T0A</AWSAccessKeyId></Error>"
    )
    assert parse_error(document) == ErrorDocument(
        "NoSuchKey", "The specified key does not exist.", "/b/nope", "254179ff"
    )


def test_what_is_no_error_document_is_none() -> None:
    for document in (
        b"",
        b"<html><h1>404 Not Found</h1></html>",
        b"<Error/>",
        b"not found",
        b"<Errors><Code>x</Code></Errors>",
    ):
        assert parse_error(document) is None


def test_multipart_documents() -> None:
    assert (
        parse_initiated(
            f"<InitiateMultipartUploadResult {NS}><UploadId>u==</UploadId></InitiateMultipartUploadResult>".encode()
        )
        == "u=="
    )
    with pytest.raises(MalformedXml):
        parse_initiated(b"<InitiateMultipartUploadResult/>")
    root = parse_xml(render_complete(["aa", "b&b"]))
    assert [(part.text_of("PartNumber"), part.text_of("ETag")) for part in root.children] == [
        ("1", '"aa"'),
        ("2", '"b&b"'),
    ]


def test_a_completion_may_fail_under_status_200() -> None:
    assert (
        parse_completed(
            b'  \n<?xml version="1.0"?><CompleteMultipartUploadResult><ETag>"ab-2"</ETag>'
            b"</CompleteMultipartUploadResult>"
        )
        == "ab-2"
    )
    failed = parse_completed(b"<Error><Code>InternalError</Code><Message>m</Message></Error>")
    assert isinstance(failed, ErrorDocument)
    assert failed.code == "InternalError"
    with pytest.raises(MalformedXml):
        parse_completed(b"<CompleteMultipartUploadResult/>")


def test_etags() -> None:
    parts = [md5(b"one").digest(), md5(b"two").digest()]
    assert etag.multipart_etag(parts) == f"{md5(parts[0] + parts[1]).hexdigest()}-2"
    assert etag.is_multipart(etag.multipart_etag(parts))
    assert etag.is_md5("0" * 32)
    assert not etag.is_md5("0" * 32 + "-1")
    assert not etag.is_multipart("0" * 32 + "-0")
    assert etag.unquote_etag(' W/"abc" ') == "abc"


@pytest.mark.parametrize(
    "text", ["", "2026-11-22", "2026-13-22T00:00:00Z", "2026-11-22T25:00:00Z", "20261122T215149", "now"]
)
def test_what_is_no_date_is_refused(text: str) -> None:
    with pytest.raises(dates.MalformedDate):
        dates.parse_timestamp(text)
    with pytest.raises(dates.MalformedDate):
        dates.parse_http_date(text)


def test_dates() -> None:
    assert (
        dates.parse_timestamp("20261122T215149Z") == dates.parse_timestamp("2026-11-22T21:51:49.000Z") == 1795384309.0
    )
    assert dates.parse_http_date("Sun, 22 Nov 2026 21:51:49 GMT") == 1795384309.0


def test_paths_and_queries_are_encoded_once() -> None:
    assert encode_path("/b/a b+c%2F~é//./..") == "/b/a%20b%2Bc%252F~%C3%A9//./.."
    assert canonical_query([("b", "2"), ("a", "x y"), ("a", "/"), ("uploads", "")]) == "a=%2F&a=x%20y&b=2&uploads="
    assert wire_query([("uploads", ""), ("prefix", "a/b")]) == "uploads&prefix=a%2Fb"
