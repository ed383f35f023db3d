"""Keys have one reading; values of others never crash a reader."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.adapters.etcd import EtcdOptions
from controlplane.adapters.etcd.schema import KeySchema, Unparsable, endpoint_at, read_endpoint, write_endpoint
from controlplane.model.endpoints import Endpoint
from controlplane.ports.errors import Rejected

ENDPOINTS = st.builds(
    Endpoint,
    service=st.just("blobs"),
    node=st.just("a"),
    url=st.text(min_size=1),
    zone=st.text(),
    version=st.text(),
    weight=st.integers(0),
)


@given(ENDPOINTS)
def test_an_endpoint_is_read_as_written(endpoint: Endpoint) -> None:
    assert read_endpoint("blobs", "a", write_endpoint(endpoint).encode()) == endpoint


def test_the_key_names_cluster_service_and_node() -> None:
    schema = KeySchema("c1")
    assert schema.endpoint(Endpoint("blobs", "n-1.x", "u")) == "/millrace/v1/c1/endpoints/blobs/n-1.x"
    assert schema.endpoints("blobs") == "/millrace/v1/c1/endpoints/blobs/"
    assert schema.name("shards/1") == "/millrace/v1/c1/shards/1"


@pytest.mark.parametrize("wrong", ["", "a/b", "..", "a b"])
def test_a_cluster_that_is_no_part_of_a_key_is_rejected(wrong: str) -> None:
    with pytest.raises(Rejected):
        KeySchema(wrong)


def test_unknown_fields_are_ignored_and_missing_ones_have_defaults() -> None:
    assert read_endpoint("s", "n", b'{"url":"u","new":[1]}') == Endpoint("s", "n", "u")


NO_ENDPOINTS = """
{}
[]
{"url":""}
{"url":1}
{"url":"u","weight":-1}
{"url":"u","weight":true}
{"url":"u","weight":"1"}
{"url":"u","zone":1}
{"url":"u","version":null}
"""


@pytest.mark.parametrize("value", [b"\xff", b"[" * 100_000, *NO_ENDPOINTS.encode().split(b"\n")])
def test_what_is_no_endpoint_is_unparsable(value: bytes) -> None:
    with pytest.raises(Unparsable):
        read_endpoint("s", "n", value)


@given(st.binary(), st.binary() | st.from_type(dict).map(lambda fields: json.dumps(str(fields)).encode()))
def test_foreign_keys_are_ignored_and_never_crash(key: bytes, value: bytes) -> None:
    found = endpoint_at("s", "/p/", b"/p/" + key, value)
    assert found is None or found.node.encode() == key


@pytest.mark.parametrize(
    "url",
    ["", "host:2379", "ftp://h", "http://", "http://h/path", "http://h?x", "http://u@h", "http://h:x", "http://[h"],
)
def test_what_is_no_base_url_is_rejected(url: str) -> None:
    with pytest.raises(Rejected):
        EtcdOptions((url,))


def test_options_are_checked_and_show_no_password() -> None:
    options = EtcdOptions(("http://h:1/", "http://h:1", "https://[::1]:2"), password="geheim")
    assert options.endpoints == ("http://h:1", "https://[::1]:2")
    assert "geheim" not in repr(options)
    with pytest.raises(Rejected):
        EtcdOptions(())
    with pytest.raises(Rejected):
        EtcdOptions(("https://h",), cert_file=Path("c.pem"))
