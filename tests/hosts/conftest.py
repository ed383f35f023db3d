"""Fixtures over real hosts and over the loopback stand-in."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hosts.lab import Lab
from tests.hosts.standin.loopback import Standin
from tests.hosts.standin.packages.build_debs import RIAK, RIAK_CS, build


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """Five hosts; HOSTS_KEEP leaves them for a look."""
    lab = Lab()
    lab.up(5)
    yield lab
    if not os.environ.get("HOSTS_KEEP"):
        lab.down()


@pytest.fixture(scope="session")
def riak_packages(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The .deb files to deploy: real ones from MILLRACE_RIAK_PACKAGES, else the stand-ins."""
    folder = os.environ.get("MILLRACE_RIAK_PACKAGES")
    if folder:
        found = sorted(Path(folder).glob("*.deb"))
        assert found, f"MILLRACE_RIAK_PACKAGES={folder} has no .deb files"
        return found
    target = tmp_path_factory.mktemp("debs")
    return [build(RIAK, "3.2.3", target), build(RIAK_CS, "3.2.4", target)]


@pytest.fixture
def standin(tmp_path: Path) -> Iterator[Standin]:
    with Standin(tmp_path) as standin:
        yield standin
