"""upgrade.yml: backup first, a question before each node, a power cut while it installs, and a second run."""

import os
import pty
import re
import subprocess
import time
from pathlib import Path

import pytest

from tests.hosts import packages as package_files
from tests.hosts.cluster import INVENTORY, RIAK, ROOT, Cluster
from tests.hosts.lifecycle import Kept, whole
from tests.hosts.packages import Packages


class Terminal:
    """A playbook whose operator sits at a terminal."""

    def __init__(self, cluster: Cluster, packages: Packages, *words: str) -> None:
        self._master, slave = pty.openpty()
        # Ansible asks only at the terminal of its own session: without one it goes on as if it had an answer.
        session = ["setsid", "--ctty", "--wait"]
        command = [*session, "ansible-playbook", "-i", str(INVENTORY), str(ROOT / "playbooks/upgrade.yml"), *words]
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=cluster.environment(packages) | {"COLUMNS": "200"},
            stdin=slave,
            stdout=slave,
            stderr=slave,
        )
        os.close(slave)
        os.set_blocking(self._master, False)
        self.output = ""

    def wait_for(self, pattern: str, timeout: float = 600) -> None:
        end = time.monotonic() + timeout
        while not re.search(pattern, self.output):
            if time.monotonic() > end or not self._read():
                raise AssertionError(f"{pattern!r} did not come:\n{self.output[-4000:]}")

    def enter(self) -> None:
        os.write(self._master, b"\r")

    def finish(self, timeout: float = 600) -> int:
        end = time.monotonic() + timeout
        while self._read():
            if time.monotonic() > end:
                raise AssertionError(f"it does not end:\n{self.output[-4000:]}")
        os.close(self._master)
        return self._process.wait(60)

    def _read(self) -> bool:
        """Takes what there is; False when it has ended."""
        try:
            self.output += os.read(self._master, 65536).decode(errors="replace").replace("\r", "")
        except BlockingIOError:
            if self._process.poll() is not None:
                return False
            time.sleep(0.1)
        except OSError:  # the other end is closed
            return False
        return True


@pytest.fixture(scope="module")
def newer(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Packages:
    if cluster.packages.real:
        pytest.skip("an upgrade needs two versions of the real packages, and MILLRACE_RIAK_PACKAGES gives one")
    return package_files.standins(tmp_path_factory.mktemp("newer"), "3.2.4", "3.2.5")


def versions(cluster: Cluster) -> dict[str, str]:
    """Riak CS and Riak KV by host: dpkg-query sorts by name."""
    command = "dpkg-query --show --showformat='${Version} ' riak-standin riak-cs-standin"
    return {name: cluster.sudo(name, command) for name in RIAK}


def test_a_way_down_is_refused(cluster: Cluster) -> None:
    run = cluster.playbook("upgrade", "-e", "riak_version=3.0.16", "-e", "riak_cs_version=3.0.1", check=False)
    assert run.code != 0
    assert re.search(r"Nothing was changed. Riak KV 3.2.3 on n1\s+cannot go to 3.0.16", run.output)
    assert run.changed == 0


def test_a_power_cut_while_it_installs(cluster: Cluster, newer: Packages, tmp_path: Path) -> None:
    kept = Kept(cluster, "kept-upgrade", count=15)
    kept.write()
    old, new = versions(cluster)["n1"], "3.2.5-1 3.2.4-1"
    with cluster.traffic("upgrade") as traffic:
        terminal = Terminal(cluster, newer, "-e", "upgrade_pause=true")
        terminal.wait_for(r"Upgrade n1 now\?")
        for name in RIAK:
            assert cluster.sudo(name, "ls /var/backups/millrace").split(), f"{name} has no backup"
        assert set(versions(cluster).values()) == {old}
        terminal.enter()
        terminal.wait_for(r"Upgrade n2 now\?")
        assert list(versions(cluster).values()) == [new, old, old, old]
        terminal.enter()
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
