"""Fixtures over real hosts and over the loopback stand-in.

Tests that start hosts carry the marker `hosts` without saying so, and run only when they are asked for: `make hosts`,
or `make hosts-quick` for those that are marked `hosts_quick`. HOSTS_KEEP=1 leaves the hosts as they are at the end, and
the next run with HOSTS_KEEP=1 takes up the cluster that it finds, without asking whether the kit has changed since.
"""

import os
import uuid
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


ORDER = ("serving", "preflight", "site", "backup", "membership", "upgrade", "gc_duty", "rolling_restart", "verify")
"""Of the modules; the rest comes last. One of two labs goes through site.yml at once while the other needs bare hosts;
then come the long ones, so that both end together."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    rank = {f"test_{name}.py": number for number, name in enumerate(ORDER)}
    on_hosts = [item for item in items if item.get_closest_marker("hosts")]
    places = [number for number, item in enumerate(items) if item.get_closest_marker("hosts")]
    on_hosts.sort(key=lambda item: rank.get(item.path.name, len(rank)))
    for number, item in zip(places, on_hosts, strict=True):
        items[number] = item


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What playbooks took and how the S3 clients fared, also when all went well."""
    for outcome in ("passed", "failed", "error"):
        for report in terminalreporter.getreports(outcome):
            said = "".join(text for name, text in report.sections if "stdout" in name).strip()
            if said and report.nodeid.startswith("tests/hosts/"):
                terminalreporter.write_line(f"{report.nodeid} {report.when}: {report.duration:.0f} s")
                terminalreporter.write_line("\n".join(f"    {line}" for line in said.splitlines() if line))


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
        lab.forget_layers(os.environ.get("PYTEST_XDIST_TESTRUNUID", str(uuid.uuid4())))
    with lab.with_will(ends_hosts=not keep):
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

    def lay_bare(self) -> Cluster:
        """For whoever does with them what it likes."""
        if not self.bare:
            self.cluster.reset("")
        self.bare = self.converged = False
        return self.cluster


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
    return stage.lay_bare()


@pytest.fixture(scope="session")
def site(stage: Stage, keep: bool) -> Stage:
    """Runs site.yml on bare hosts once for all labs, and keeps what it made as a layer."""
    cluster = stage.cluster
    with cluster.lab.alone("site"):
        if cluster.lab.has(SITE):
            print("\nthe cluster of another run or lab is taken up")
            return stage
        if not stage.bare:
            cluster.reset("")
        stage.bare = False
        stage.run = cluster.playbook("site")
        cluster.save()
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
