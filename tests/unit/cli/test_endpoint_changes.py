"""What a watcher is told of a change."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from controlplane.cli.endpoint_commands import changes
from controlplane.model.endpoints import Endpoint, EndpointSet

endpoints = st.dictionaries(st.sampled_from("abcd"), st.sampled_from(["http://1", "http://2"])).map(
    lambda urls: {node: Endpoint("blobs", node, url) for node, url in urls.items()}
)


@given(endpoints, endpoints)
def test_whoever_applies_the_changes_has_the_new_set(before: dict[str, Endpoint], after: dict[str, Endpoint]) -> None:
    state = dict(before)
    for change, endpoint in changes(before, EndpointSet(tuple(after.values()), 1)):
        match change:
            case "added":
                assert endpoint.node not in state
                state[endpoint.node] = endpoint
            case "changed":
                assert state[endpoint.node] != endpoint
                state[endpoint.node] = endpoint
            case "removed":
                del state[endpoint.node]
    assert state == after
