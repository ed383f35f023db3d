"""Fixtures over real hosts and over the loopback stand-in.

Tests that start hosts carry the marker `hosts` without saying so, and run only when they are asked for: `make hosts`,
or `make hosts-quick` for those that are marked `hosts_quick`. HOSTS_KEEP=1 leaves the hosts as they are at the end, and
the next run with HOSTS_KEEP=1 takes up the cluster that it finds, without asking whether the kit has changed since.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.hosts import packages as package_files
from tests.hosts.cluster import SITE, Cluster, Run
from tests.hosts.lab import Lab
from tests.hosts.packages import Packages
from tests.hosts.persistent_store import persistent_store
from tests.hosts.standin.loopback import Standin

SECONDS = 3600
"""Of one test with its fixtures: against hangs, not a promise of speed."""


def pytest_itemcollected(item: pytest.Item) -> None:
    """Whoever uses the lab belongs to the marker."""
    if "lab" in getattr(item, "fixturenames", ()):
        item.add_marker(pytest.mark.hosts)
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(SECONDS))


@pytest.fixture(scope="session")
def keep() -> bool:
    return bool(os.environ.get("HOSTS_KEEP"))


@pytest.fixture(scope="session")
def lab(keep: bool) -> Iterator[Lab]:
    """Five hosts and the persistent store beside them."""
    lab = Lab()
    if not keep:
        lab.down()  # what a run that was killed has left
    lab.up(5)
    with persistent_store(lab, lab.state / "persistent"):
        yield lab
    if not keep:
        lab.down()


@pytest.fixture(scope="session")
def riak_packages(tmp_path_factory: pytest.TempPathFactory) -> Packages:
    """The packages to deploy: real ones from MILLRACE_RIAK_PACKAGES, else the stand-ins."""
    return package_files.of_this_run(tmp_path_factory.mktemp("packages"))


@dataclass
class Stage:
    """The hosts and what is known of their state."""

    cluster: Cluster
    bare: bool
    """Nothing has been done to them since they were made."""
    converged: bool = False
    """They are as site.yml has left them."""
    run: Run | None = None
    """Of site.yml on bare hosts; None when a cluster was taken up (HOSTS_KEEP)."""


@pytest.fixture(scope="session")
def stage(lab: Lab, riak_packages: Packages, keep: bool) -> Stage:
    cluster = Cluster(lab, riak_packages, lab.state / "run")
    if not keep:
        cluster.forget_facts()
        cluster.forget_keys()
    return Stage(cluster, bare=not keep)


@pytest.fixture
def bare(stage: Stage) -> Cluster:
    """Hosts that nothing has been installed on, for one test."""
    if not stage.bare:
        stage.cluster.reset("")
    stage.bare = stage.converged = False
    return stage.cluster


@pytest.fixture(scope="session")
def site(stage: Stage, keep: bool) -> Stage:
    """Runs site.yml on bare hosts once, and keeps what it made as a layer."""
    cluster = stage.cluster
    if keep and cluster.lab.has(SITE):
        print("\nHOSTS_KEEP: the cluster of a former run is taken up")
        return stage
    cluster.reset("")
    stage.bare = False
    stage.run = cluster.playbook("site")
    cluster.lab.save(SITE)
    cluster.wait_until_serving()
    stage.converged = True
    return stage


@pytest.fixture(scope="module")
def cluster(site: Stage) -> Cluster:
    """A converged cluster for the tests of one module, which may leave it in any state."""
    return _converged(site)


@pytest.fixture
def fresh_cluster(site: Stage) -> Cluster:
    """A converged cluster for one test."""
    return _converged(site)


def _converged(stage: Stage) -> Cluster:
    if not stage.converged:
        stage.cluster.reset()
    stage.bare = stage.converged = False
    return stage.cluster


@pytest.fixture
def standin(tmp_path: Path) -> Iterator[Standin]:
    with Standin(tmp_path) as standin:
        yield standin
