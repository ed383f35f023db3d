"""upgrade.yml: backup first, a question before each node and a no, a power cut while it installs, and a second run."""

import re
from pathlib import Path

import pytest

from tests.hosts import packages as package_files
from tests.hosts.cluster import RIAK, Cluster
from tests.hosts.control_node import INVENTORY, ROOT
from tests.hosts.lifecycle import Kept, whole
from tests.hosts.packages import Packages
from tests.support.terminal import Terminal


def at_a_terminal(cluster: Cluster, packages: Packages, *words: str, stock: bool = True) -> Terminal:
    command = ["ansible-playbook", "-i", str(INVENTORY), str(ROOT / "playbooks/upgrade.yml"), *words]
    return Terminal(command, ROOT, cluster.environment(packages, stock=stock))


@pytest.fixture(scope="module")
def newer(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Packages:
    return package_files.newer(cluster.packages, tmp_path_factory.mktemp("newer"))


def versions(cluster: Cluster) -> dict[str, tuple[str, ...]]:
    """Of Riak KV and Riak CS by host."""
    commands = "; ".join(f"dpkg-query --show --showformat='${{Version}}\\n' {name}" for name in cluster.packages.names)
    return {
        name: tuple(package_files.upstream(line) for line in cluster.sudo(name, commands).splitlines()) for name in RIAK
    }


def test_a_way_down_is_refused(cluster: Cluster) -> None:
    run = cluster.playbook("upgrade", "-e", "riak_version=3.0.16", "-e", "riak_cs_version=3.0.1", check=False)
    assert run.code != 0
    here = re.escape(cluster.packages.riak_version)
    assert re.search(rf"Nothing was changed. Riak KV {here} on n1\s+cannot go to 3.0.16", run.output)
    assert run.changed == 0


def test_a_question_that_nobody_can_answer_changes_nothing(cluster: Cluster, newer: Packages) -> None:
    before = versions(cluster)
    run = cluster.playbook("upgrade", "-e", "upgrade_pause=true", packages=newer, check=False)
    assert run.code != 0
    assert re.search(r"Nothing was changed on n1.*A question needs a\s+terminal", run.output, re.DOTALL)
    assert run.changed == 0
    assert versions(cluster) == before


def test_a_power_cut_while_it_installs(cluster: Cluster, newer: Packages, tmp_path: Path) -> None:
    kept = Kept(cluster, "kept-upgrade", count=15)
    kept.write()
    old, new = versions(cluster)["n1"], (newer.riak_version, newer.riak_cs_version)
    with cluster.traffic("upgrade") as traffic:
        terminal = at_a_terminal(cluster, newer, "-e", "upgrade_pause=true", stock=False)
        terminal.wait_for(r"Begin\?")
        terminal.answer("yes", until="Somebody said yes")
        terminal.wait_for(r"Upgrade n1 now\?")
        for name in RIAK:
            assert cluster.sudo(name, "ls /var/backups/millrace").split(), f"{name} has no backup"
        assert set(versions(cluster).values()) == {old}
        terminal.answer("yes", until="Somebody said yes")
        terminal.wait_for(r"Upgrade n2 now\?")
        terminal.answer("no", until="Nothing was changed on n2")
        assert terminal.finish() != 0
        assert list(versions(cluster).values()) == [new, old, old, old]

        terminal = at_a_terminal(cluster, newer, "-e", "upgrade_pause=true", "-e", "upgrade_skip_backup=true")
        terminal.wait_for(r"Begin\?")
        terminal.answer("yes", until="Somebody said yes")
        terminal.wait_for(r"Upgrade n\d now\?")
        assert "Upgrade n2 now?" in terminal.output, "n1 was not passed over"
        terminal.answer("yes", until="Somebody said yes")
        terminal.wait_for(r"TASK \[riak : Copy it\] \*+(\n.*)?\nchanged: \[n2\]")
        cluster.lab.crash("n2")
        assert terminal.finish() != 0
        traffic.wait_for(20)
        cluster.lab.start("n2")
        assert list(versions(cluster).values())[2:] == [old, old]

        again = cluster.playbook("upgrade", "-e", "upgrade_skip_backup=true", packages=newer)
        assert list(versions(cluster).values()) == [new] * 4
        assert "n1" not in " ".join(task for task in again.changed_tasks if "Stop" in task), "n1 was done twice"
        print(f"upgrade of three nodes without backup: {again.seconds:.0f} s")
    whole(traffic)
    assert kept.missing() == []
    third = cluster.playbook("upgrade", "-e", "upgrade_skip_backup=true", packages=newer)
    assert third.changed == 0
