"""Options and fixtures of all tests."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes says something of the machine and its other work, not of the code.
settings.register_profile("millrace", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("millrace")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--kills", type=int, default=200, help="how often the crash tests kill a process (default 200)")
    parser.addoption("--client-mib", type=int, default=100, help="what S3 clients send in parts (default 100)")
    parser.addoption("--stampede-mib", type=int, default=32, help="size of the blob of the stampede (default 32)")
    parser.addoption("--client-keys", type=int, default=2500, help="keys that S3 clients list (default 2500)")


@pytest.fixture
def forgive_lost_connections() -> Iterator[None]:
    """For tests that stop servers while aiohttp connects to them: a connection whose attempt is cancelled in the very
    moment it is made is only closed by the garbage collector, which warns. It is collected here, not in a later one."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
