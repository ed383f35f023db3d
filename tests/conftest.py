"""Options and fixtures of all tests."""

from __future__ import annotations

import gc
import os
import warnings
from collections.abc import Iterator

import pytest
from _pytest import runner
from hypothesis import HealthCheck, settings

# How long an example takes says something of the machine and its other work, not of the code.
settings.register_profile("millrace", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("millrace")


def _name_current_test(item: pytest.Item, when: str | None) -> None:
    """PYTEST_CURRENT_TEST as pytest has it, but that it is emptied at the end of a test, never removed.

    Whoever walks over os.environ (boto3 and requests for every client, looking for proxies; dict(os.environ)) takes all
    names and then asks for each: a name that is removed in between is a KeyError. Threads that live across tests do
    this while pytest, between two tests, removes that one. Adding and replacing hurt nobody."""
    os.environ["PYTEST_CURRENT_TEST"] = f"{item.nodeid} ({when})".replace("\0", "(null)") if when else ""


# Pytest has no setting for it. tests/unit/test_environment.py tells when this does not reach it any more.
runner._update_current_test_var = _name_current_test


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--kills", type=int, default=200, help="how often the crash tests kill a process (default 200)")
    parser.addoption("--client-mib", type=int, default=100, help="what S3 clients send in parts (default 100)")
    parser.addoption("--stampede-mib", type=int, default=32, help="size of the blob of the stampede (default 32)")
    parser.addoption("--client-keys", type=int, default=2500, help="keys that S3 clients list (default 2500)")


def pytest_report_header() -> str:
    if not any(os.environ.get(f"MILLRACE_RIAK_{name}") for name in ("HTTP_URL", "PB")):
        return "Riak KV: the stand-in (MILLRACE_RIAK_HTTP_URL and MILLRACE_RIAK_PB name none)"
    from tests.support import riak_kv  # much is loaded with it

    return riak_kv.header()


@pytest.fixture
def forgive_lost_connections() -> Iterator[None]:
    """For tests that stop servers while aiohttp connects to them: a connection whose attempt is cancelled in the very
    moment it is made is only closed by the garbage collector, which warns. It is collected here, not in a later one."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
