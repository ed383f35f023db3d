"""Servers that several contract suites run on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.cloud_servers import CloudServer, azurite_server, gcs_server
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


@pytest.fixture(scope="module")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudServer]:
    with azurite_server(tmp_path_factory.mktemp("azurite")) as server:
        yield server


@pytest.fixture(scope="module")
def gcs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudServer]:
    with gcs_server(tmp_path_factory.mktemp("gcs")) as server:
        yield server
