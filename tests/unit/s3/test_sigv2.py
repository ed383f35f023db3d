"""SigV2 gives the signatures of AWS's published examples and of botocore, with the date in Date (Riak CS)."""

from __future__ import annotations

from unittest import mock
from urllib.parse import urlsplit

import pytest
from botocore.auth import HmacV1Auth
from botocore.compat import HTTPHeaders
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from controlplane.s3 import sigv2
from controlplane.s3.sigv2 import SignerV2
from controlplane.s3.uri import Query, encode_path

SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
ACCESS = "AKIAIOSFODNN7EXAMPLE"


@pytest.mark.parametrize(
    ("method", "path", "query", "headers", "date", "expected"),
    [
        ("GET", "/awsexamplebucket1/photos/puppy.jpg", (), {}, "Tue, 27 Mar 2007 19:36:42 +0000",
         "qgk2+6Sv9/oM7G3qLEjTH1a1l1g="),
        ("PUT", "/awsexamplebucket1/photos/puppy.jpg", (), {"content-type": "image/jpeg"},
         "Tue, 27 Mar 2007 21:15:45 +0000", "iqRzw+ileNPu1fhspnRs8nOjjIA="),
        ("GET", "/awsexamplebucket1/", (("prefix", "photos"), ("max-keys", "50"), ("marker", "puppy")), {},
         "Tue, 27 Mar 2007 19:42:41 +0000", "m0WP8eCtspQl5Ahe6L1SozdX9YA="),
        ("GET", "/awsexamplebucket1/", (("acl", ""),), {}, "Tue, 27 Mar 2007 19:44:46 +0000",
         "82ZHiFIjc+WbcwFKGUVEQspPn+0="),
    ],
)  # fmt: skip
def test_the_published_examples_of_aws(
    method: str, path: str, query: Query, headers: dict[str, str], date: str, expected: str
) -> None:
    resource = sigv2.canonical_resource(encode_path(path), query)
    assert sigv2.signature(SECRET, sigv2.string_to_sign(method, resource, headers, date)) == expected


@given(
    method=st.sampled_from(["GET", "PUT", "DELETE", "POST"]),
    key=st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=30),
    query=st.sets(
        st.sampled_from([("uploads", ""), ("uploadId", "a+b="), ("partNumber", "3"), ("prefix", "x"), ("acl", "")])
    ),
    metadata=st.dictionaries(
        st.from_regex(r"[a-z][a-z0-9]{0,9}", fullmatch=True),
        st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=20),
        max_size=3,
    ),
    now=st.integers(min_value=0, max_value=4_000_000_000),
)
def test_it_agrees_with_botocore(
    method: str, key: str, query: set[tuple[str, str]], metadata: dict[str, str], now: int
) -> None:
    headers = {"host": "store.test", "content-type": "text/plain"}
    headers |= {f"x-amz-meta-{name}": value for name, value in metadata.items()}
    ours = SignerV2(ACCESS, SECRET).sign(method, f"/bucket/{key}", tuple(query), headers, "", now)

    split = urlsplit("http://store.test" + encode_path(f"/bucket/{key}"))
    wire = "&".join(f"{name}={value.replace('+', '%2B')}" if value else name for name, value in query)
    with mock.patch.object(HmacV1Auth, "_get_date", return_value=ours["date"]):
        theirs = HmacV1Auth(Credentials(ACCESS, SECRET)).get_signature(
            method, split._replace(query=wire), HTTPHeaders.from_dict(ours)
        )
    assert ours["authorization"] == f"AWS {ACCESS}:{theirs}"


def test_the_date_is_in_date_and_not_in_x_amz_date() -> None:
    headers = SignerV2(ACCESS, SECRET).sign("GET", "/b/k", (), {"host": "h"}, "", 1_175_024_202.9)
    assert headers["date"] == "Tue, 27 Mar 2007 19:36:42 GMT"
    assert not any(name.startswith("x-amz-") for name in headers)
