"""Nothing leaves for Riak CS but what it understands as it is meant (surprises 1, 2, 3, 16)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.adapters.riak_cs.permitted import Unsafe, require_permitted
from controlplane.adapters.riak_cs.wire import head_of, target_of
from controlplane.ports.upstream import Ask, KeyPair
from controlplane.s3.operation import Level, Operation
from controlplane.s3.operation_table import TABLE as OPERATIONS
from controlplane.s3.operation_table import operation_of

PAIR = KeyPair("KEY", "secret")
UNDERSTOOD = {
    "acl", "policy", "location", "versioning", "versions", "uploads", "delete", "uploadId", "partNumber", "versionId",
    "prefix", "marker", "delimiter", "max-keys", "key-marker", "version-id-marker", "upload-id-marker", "max-uploads",
}  # fmt: skip


@given(
    st.sampled_from(["GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "PATCH"]),
    st.sampled_from(["", "bucket"]),
    st.sampled_from(["", "key"]),
    st.text(max_size=12) | st.sampled_from([name for level in OPERATIONS.values() for name in level]),
    st.text(max_size=5),
)
def test_no_other_subresource_is_sent(method: str, bucket: str, key: str, name: str, value: str) -> None:
    if name not in UNDERSTOOD:
        with pytest.raises(Unsafe):
            require_permitted(Ask(method, PAIR, bucket, key if bucket else "", ((name, value),)))


@pytest.mark.parametrize(
    "ask",
    [
        Ask("PUT", PAIR, "bucket", "key", (("acl", ""), ("tagging", ""))),
        Ask("PUT", PAIR, "bucket", "key", (("uploadId", "u"),)),
        Ask("DELETE", PAIR, "bucket", "", (("acl", ""),)),
        Ask("POST", PAIR, "bucket", "key"),
        Ask("POST", PAIR, "bucket"),
        Ask("PUT", PAIR),
        Ask("GET", PAIR, "bucket", "", (("delimiter", ""),)),
        Ask("DELETE", PAIR, "bucket", "key", (("versionId", ""),)),
        Ask("GET", PAIR, "bucket", "", (("prefix", "a"), ("prefix", "b"))),
    ],
    ids=lambda ask: f"{ask.method} {ask.query}",
)
def test_what_riak_cs_would_take_for_something_else_stays_here(ask: Ask) -> None:
    with pytest.raises(Unsafe):
        require_permitted(ask)


def test_every_served_operation_that_needs_riak_cs_may_be_asked() -> None:
    for ask in (
        Ask("GET", PAIR),
        Ask("GET", PAIR, "bucket", "", (("prefix", "p"), ("delimiter", "/"), ("marker", "m"), ("max-keys", "5"))),
        Ask("PUT", PAIR, "bucket", "", (("policy", ""),)),
        Ask("PUT", PAIR, "bucket", "key", (("partNumber", "1"), ("uploadId", "u"))),
        Ask("POST", PAIR, "bucket", "key", (("uploads", ""),)),
        Ask("GET", PAIR, "bucket", "key", (("versionId", "v"),)),
    ):
        require_permitted(ask)
    assert operation_of("PUT", Level.OBJECT, (("tagging", ""),), copies=False) is Operation.PUT_OBJECT_TAGGING


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20))
def test_a_key_cannot_leave_its_path(key: str) -> None:
    ask = Ask("GET", PAIR, "bucket", key)
    target = target_of(ask)
    assert target.startswith("/bucket/")
    assert not set(target) & set("?#+ \r\n%&") - {"%"}
    head = head_of(ask, "host", 0.0)
    assert head.count(b"\r\n") == 5
    assert head.split(b" ")[1] == target.encode()


def test_a_bucket_cannot_leave_its_path_either() -> None:
    assert target_of(Ask("GET", PAIR, "a+b?c#d&e", "k")) == "/a%2Bb%3Fc%23d%26e/k"
    assert target_of(Ask("GET", PAIR, "bucket.of-alice", "")) == "/bucket.of-alice"
