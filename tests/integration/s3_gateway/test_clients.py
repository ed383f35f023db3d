"""Real S3 clients, each through the whole scenario against the gateway: everything that a client has works."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.clients import matrix
from tests.clients.scenario import Sizes
from tests.support.riak_cs import RiakCs, User
from tests.support.s3_gateway import S3Gateway

SMALL_BYTES = 24 << 20
"""Over TLS the object in parts is smaller: the parts are the same thing, and tests have three minutes."""


@pytest.fixture(scope="module")
def sizes(request: pytest.FixtureRequest, riak_cs: RiakCs, alice: User) -> Sizes:
    matrix.make_environment()
    large, keys = (request.config.getoption(f"--client-{name}") for name in ("mib", "keys"))
    return replace(matrix.seed(riak_cs, alice, keys), large=large << 20)


@pytest.fixture
def folder(s3_folder: Path) -> Iterator[Path]:
    path = s3_folder / f"clients-{secrets.token_hex(4)}"
    path.mkdir()
    yield path
    assert not list(path.iterdir()), "a client left files behind"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("client", matrix.CLIENTS)
def test_all_of_a_client_works_over_http(
    client: str, gateway: S3Gateway, alice: User, sizes: Sizes, folder: Path
) -> None:
    column = matrix.run_client(client, gateway.url, alice, sizes, folder)
    assert not column.problems(), "\n".join(column.problems())
    assert "yes" in {outcome.outcome for outcome in column.outcomes.values()}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("client", matrix.CLIENTS)
def test_all_of_a_client_works_over_tls(
    client: str, tls_gateway: S3Gateway, alice: User, sizes: Sizes, folder: Path
) -> None:
    smaller = replace(sizes, large=min(sizes.large, SMALL_BYTES))
    column = matrix.run_client(client, tls_gateway.url, alice, smaller, folder, tls_gateway.ca_file)
    assert not column.problems(), "\n".join(column.problems())
    assert "yes" in {outcome.outcome for outcome in column.outcomes.values()}
