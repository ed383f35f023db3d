"""Real S3 clients, each through the whole scenario against the gateway: everything that a client has works.

Two clients run at once beside the tests that wait for them: most of their time is the start of programs.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from tests.clients import matrix
from tests.clients.scenario import Sizes
from tests.support.riak_cs import RiakCs, User
from tests.support.s3_gateway import S3Gateway

SMALL_BYTES = 24 << 20
"""Over TLS the object in parts is smaller: the parts are the same thing, and tests have three minutes."""
Running = dict[tuple[str, str], Future[matrix.Column]]


@pytest.fixture(scope="module")
def user(riak_cs: RiakCs) -> Iterator[User]:
    """Of the clients alone: a user may have 100 buckets, and they leave some."""
    made = riak_cs.create_user("clients")
    yield made
    matrix.remove_buckets(riak_cs, made)


@pytest.fixture(scope="module")
def sizes(request: pytest.FixtureRequest, riak_cs: RiakCs, user: User) -> Sizes:
    matrix.make_environment()
    large, keys = (request.config.getoption(f"--client-{name}") for name in ("mib", "keys"))
    return replace(matrix.seed(riak_cs, user, keys), large=large << 20)


@pytest.fixture(scope="module")
def running(
    request: pytest.FixtureRequest, gateway: S3Gateway, tls_gateway: S3Gateway, user: User, sizes: Sizes,
    s3_folder: Path,
) -> Iterator[Running]:  # fmt: skip
    """Those that were selected, in their order."""
    folder = s3_folder / "clients"
    folder.mkdir()
    smaller = replace(sizes, large=min(sizes.large, SMALL_BYTES))
    ways = {"http": (gateway, sizes), "tls": (tls_gateway, smaller)}
    chosen = [item for item in request.session.items if item.path == request.path and isinstance(item, pytest.Function)]
    pool = ThreadPoolExecutor(2)
    started: Running = {}
    for item in chosen:
        way, client = item.callspec.params["way"], item.callspec.params["client"]
        through, how_large = ways[way]
        started[way, client] = pool.submit(
            matrix.run_client, client, through.url, user, how_large, folder, through.ca_file
        )
    yield started
    pool.shutdown(cancel_futures=True)
    assert not list(folder.iterdir()), "a client left files behind"


@pytest.mark.timeout(2400)
@pytest.mark.parametrize("client", matrix.CLIENTS)
@pytest.mark.parametrize("way", ["http", "tls"])
def test_all_that_a_client_has_works(way: str, client: str, running: Running) -> None:
    column = running[way, client].result()
    assert not column.problems(), "\n".join(column.problems())
    assert "yes" in {outcome.outcome for outcome in column.outcomes.values()}
