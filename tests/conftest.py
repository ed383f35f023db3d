"""Options and fixtures of all tests."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from _pytest import runner
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).parent

# How long an example takes says something of the machine and its other work, not of the code.
settings.register_profile("millrace", deadline=None, suppress_health_check=[HealthCheck.too_slow])
# The same examples in each run (make test): whether a commit may land is not decided by a die. All other runs look for
# new ones, and an example that failed there belongs into an @example.
settings.register_profile("same", settings.get_profile("millrace"), derandomize=True, database=None)
settings.load_profile("millrace")

# A shell that starts what runs the tests in the background has it ignore SIGINT, and all that it starts with it: tests
# that interrupt a command as a user does would wait for its end in vain.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

WORKERS_A_CPU = 2
"""Most of a test's time goes by in waiting: for processes that start, for servers, for what must not happen."""

LONG = (
    "integration/s3_gateway/test_clients.py",
    "crash/test_kills.py",
    "chaos/test_chaos.py",
    "integration/s3_gateway/test_mirror.py",
    "kit/test_real_packages.py",
    "integration/s3_gateway/test_cloud_mirror.py",
    "integration/gc/test_two_agents.py",
    "integration/cli/test_node_commands.py",
    "integration/cli/test_user_commands.py",
    "kit/test_restore.py",
    "contract/test_riak_cs_store.py",
    "integration/node/test_node.py",
    "integration/s3_gateway/test_cold.py",
    "integration/gateway/test_stampede.py",
    "contract/test_directories.py",
    "integration/s3_gateway/test_surprises_operators.py",
    "integration/s3/test_memory_after_failures.py",
    "contract/test_azure_store.py",
    "integration/http/test_loopback.py",
    "integration/cli/test_blob_commands.py",
    "contract/test_s3_store.py",
    "kit/test_monitoring.py",
    "crash/test_large_kills.py",
)
"""Files of more than half a minute on a busy machine, the longest first: what is left at the end is short."""


def pytest_xdist_auto_num_workers() -> int:
    return WORKERS_A_CPU * len(os.sched_getaffinity(0))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    place = {ROOT / name: number for number, name in enumerate(LONG)}
    if gone := [str(path) for path in place if not path.is_file()]:
        raise pytest.UsageError(f"tests/conftest.py orders files that are not there: {', '.join(gone)}")
    items.sort(key=lambda item: place.get(item.path, len(place)))


def pytest_collection_finish() -> None:
    """Modules and tests stay to the end: the garbage collector need not walk over them (0.4 s) again and again."""
    gc.collect()
    gc.freeze()


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


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    path = tmp_path / "tiny"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", path], check=True)
    yield path
    subprocess.run(["umount", path], check=True)
