"""Servers that several contract suites run on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.riak_kv import RiakNode, real, standin


@pytest.fixture(scope="session")
def riak(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RiakNode]:
    """The real Riak KV if the environment names one by its HTTP URL, else the stand-in."""
    found = real()
    if found is not None and found.http_url:
        yield found
        return
    with standin(tmp_path_factory.mktemp("riak")) as node:
        yield node


@pytest.fixture(scope="session")
def riak_pb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RiakNode]:
    """The same by MILLRACE_RIAK_PB."""
    found = real()
    if found is not None and found.pb:
        yield found
        return
    with standin(tmp_path_factory.mktemp("riak-pb")) as node:
        yield node
