"""Which requests go to Riak CS signed by version 2, although its store signs by version 4."""

from __future__ import annotations

import pytest

from controlplane.adapters.s3.client import Request, is_misread

LISTING = ("GET", None)


@pytest.mark.parametrize("value", ["", "x", "dir2/k00590", "x/s ", "A-z_0.9~/"])
@pytest.mark.parametrize("name", ["prefix", "marker", "key-marker"])
def test_places_that_were_seen_to_pass_by_version_4(name: str, value: str) -> None:
    """list-v1-marker, list-v1-prefix..., list-marker-space-v4."""
    assert not is_misread(Request(*LISTING, (("max-keys", "5"), (name, value))))


@pytest.mark.parametrize(
    "value", ["c+", "+", "a%", "é", "a&b", "a=b", "\n", "a\n", "\x01", "(s)!*'", "a:b@c", "\U0001f600"]
)
@pytest.mark.parametrize("name", ["prefix", "marker", "key-marker"])
def test_places_that_fail_or_were_never_seen(name: str, value: str) -> None:
    """key-list-prefix-plus is 403; of the others there is no recording."""
    assert is_misread(Request(*LISTING, ((name, value),)))


def test_headers_with_two_blanks_and_nothing_else() -> None:
    """auth-v4-double-space."""
    assert is_misread(Request("PUT", "k", (), {"x-amz-meta-note": "a  b"}))
    assert not is_misread(Request("PUT", "k+", (), {"x-amz-meta-note": "a b"}))
    assert not is_misread(Request("PUT", "k", (("uploadId", "a+b=="), ("partNumber", "1"))))
