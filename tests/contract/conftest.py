"""Servers that several contract suites run on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.riak_kv import RiakNode, given_or_standin


@pytest.fixture(scope="session")
def riak(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RiakNode]:
    """The real Riak KV if the environment names one by its HTTP URL, else the stand-in."""
    with given_or_standin(tmp_path_factory.mktemp("riak")) as node:
        yield node


@pytest.fixture(scope="session")
def riak_pb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RiakNode]:
    """The same by MILLRACE_RIAK_PB."""
    with given_or_standin(tmp_path_factory.mktemp("riak-pb"), pb=True) as node:
        yield node
