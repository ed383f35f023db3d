"""A restore that broke off is run again: what it had left stopped starts, and nothing else does.

The role's own tasks on this machine, with Ansible's own module for units, over a systemctl that keeps its units in
files: the lab (tests/hosts/test_backup.py) restores on a real systemd, but nothing breaks off there.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

AGENT, GATEWAY, RIAK, RIAK_CS = UNITS = (
    "millrace-agent.service", "millrace-gateway.service", "riak.service", "riak-cs.service",
)  # fmt: skip
STOPS = [f"stop {unit}" for unit in (AGENT, GATEWAY, RIAK_CS, RIAK)]
SYSTEMCTL = """\
#!/bin/sh
# show UNIT, start UNIT, stop UNIT: of a unit file's state and whether it runs.
cd "$(dirname "$0")/units" || exit 1
case "$1" in
  show)
    [ -e "$2" ] || { printf 'Id=%s\\nLoadState=not-found\\nActiveState=inactive\\n' "$2"; exit 0; }
    read -r enabled active < "$2"
    printf 'Id=%s\\nLoadState=loaded\\nActiveState=%s\\nUnitFileState=%s\\n' "$2" "$active" "$enabled" ;;
  start) read -r enabled _ < "$2" && echo "$enabled active" > "$2" && echo "start $2" >> ../log ;;
  stop) read -r enabled _ < "$2" && echo "$enabled inactive" > "$2" && echo "stop $2" >> ../log ;;
  *) echo "systemctl $*: not known here" >&2; exit 1 ;;
esac
"""


@dataclass
class Machine:
    """One with a backup of the node's data and of the control plane's."""

    tool: Any
    folder: Path

    def __post_init__(self) -> None:
        (self.folder / "bin" / "units").mkdir(parents=True)
        systemctl = self.folder / "bin" / "systemctl"
        systemctl.write_text(SYSTEMCTL)
        systemctl.chmod(0o755)
        self.backup.mkdir(parents=True)
        for name in ("journal.db", "catalog.db", "controlplane-config.tar.gz"):
            (self.backup / name).write_text(f"{name} of the backup")
        self.data.mkdir()
        (self.data / "journal.db").write_text("of today")
        self.ring.mkdir()
        (self.ring / "manifest").write_text("of the backup")
        with tarfile.open(self.archive, "w:gz") as archive:
            archive.add(self.ring, str(self.ring).lstrip("/"))
        (self.ring / "manifest").write_text("of today")
        self.sum_up()
        self.play(
            "restore",
            backup_parts=["riak", "controlplane"],
            backup_controlplane_data_dir=str(self.data),
            backup_restore_confirmed=True,
            backup_restore_settings=False,
        )
        self.play(
            "main",
            backup_parts=["riak"],
            backup_name="new",
            backup_riak_config_dirs=[str(self.data)],
            backup_metrics_dir="",
            backup_spare_bytes=0,
        )

    def play(self, tasks: str, **more: Any) -> None:
        play = {
            "hosts": "localhost",
            "connection": "local",
            "gather_facts": False,
            "tasks": [{"ansible.builtin.import_role": {"name": "backup", "tasks_from": tasks}}],
            "vars": {
                "ansible_python_interpreter": "{{ ansible_playbook_python }}",
                "backup_dir": str(self.backup.parent),
                "backup_riak_data_dirs": [str(self.ring)],
                **more,
            },
        }
        (self.folder / f"{tasks}.yml").write_text(yaml.safe_dump([play]))

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def ring(self) -> Path:
        return self.folder / "ring"

    @property
    def backup(self) -> Path:
        return self.folder / "backups" / "20261122T210000Z"

    @property
    def archive(self) -> Path:
        return self.backup / "riak-data.tar.gz"

    def sum_up(self) -> None:
        files = [path for path in self.backup.iterdir() if path.name != "SHA256SUMS"]
        sums = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files]
        (self.backup / "SHA256SUMS").write_text("".join(sums))

    def has(self, unit: str, enabled: str, active: str) -> None:
        (self.folder / "bin" / "units" / unit).write_text(f"{enabled} {active}\n")

    def runs(self, unit: str) -> bool:
        return (self.folder / "bin" / "units" / unit).read_text().split()[1] == "active"

    def log(self) -> list[str]:
        """What was done to units since the last call."""
        path = self.folder / "bin" / "log"
        lines = path.read_text().splitlines() if path.exists() else []
        path.write_text("")
        return lines

    def restore(self) -> int:
        return self.run("restore")

    def back_up(self) -> int:
        return self.run("main")

    def run(self, tasks: str) -> int:
        path = f"{self.folder / 'bin'}:{os.environ['PATH']}"
        run = self.tool("ansible-playbook", "-i", "localhost,", self.folder / f"{tasks}.yml", PATH=path)
        print(run.stdout, run.stderr)
        return int(run.returncode)


@pytest.fixture
def machine(tool: Any, tmp_path: Path) -> Machine:
    machine = Machine(tool, tmp_path)
    for unit in UNITS:
        machine.has(unit, "enabled", "active")
    return machine


@pytest.mark.parametrize("breaks", ["the node's data", "the control plane's"])
def test_run_again_after_it_broke_off_it_starts_what_it_had_left_stopped(machine: Machine, breaks: str) -> None:
    node, controlplane = [f"start {RIAK}", f"start {RIAK_CS}"], [f"start {GATEWAY}", f"start {AGENT}"]
    if breaks == "the node's data":
        whole = machine.archive.read_bytes()
        machine.archive.write_bytes(b"no archive")
        machine.sum_up()
    else:
        shutil.move(machine.data, machine.folder / "elsewhere")  # a disk that is not mounted
    assert machine.restore() != 0
    assert machine.log() == [*STOPS, *(node if breaks != "the node's data" else [])]
    if breaks == "the node's data":
        machine.archive.write_bytes(whole)
        machine.sum_up()
        stops = []
    else:
        shutil.move(machine.folder / "elsewhere", machine.data)
        stops = STOPS[2:]
    assert machine.restore() == 0
    assert machine.log() == [*stops, *node, *controlplane]
    assert (machine.ring / "manifest").read_text() == "of the backup"
    assert (machine.data / "journal.db").read_text() == "journal.db of the backup"
    assert (machine.data / "journal.db.before-restore").read_text() == "of today"


def test_run_again_after_it_broke_off_it_keeps_what_the_first_run_kept(machine: Machine) -> None:
    whole = machine.archive.read_bytes()
    machine.archive.write_bytes(whole[:-20])  # breaks off when all is unpacked
    machine.sum_up()
    (machine.ring / "only of today").write_text("of today")
    assert machine.restore() != 0
    (machine.ring / "manifest").write_text("half of the backup")
    machine.archive.write_bytes(whole)
    machine.sum_up()
    assert machine.restore() == 0
    kept = machine.ring / ".before-restore"
    assert sorted(path.name for path in kept.iterdir()) == ["manifest", "only of today"]
    assert {path.read_text() for path in kept.iterdir()} == {"of today"}
    assert {path.name for path in machine.ring.iterdir()} == {"manifest", ".before-restore"}
    assert (machine.ring / "manifest").read_text() == "of the backup"


def test_one_that_is_whole_makes_room_for_what_the_next_one_keeps_and_no_backup_has_that(machine: Machine) -> None:
    assert machine.restore() == 0
    with tarfile.open(machine.archive, "w:gz") as archive:  # as former versions made them: with what was kept
        archive.add(machine.ring, str(machine.ring).lstrip("/"))
    machine.sum_up()
    (machine.ring / "manifest").write_text("of tomorrow")
    (machine.data / "journal.db").write_text("of tomorrow")
    assert machine.restore() == 0
    assert (machine.ring / ".before-restore" / "manifest").read_text() == "of tomorrow"
    assert (machine.data / "journal.db.before-restore").read_text() == "of tomorrow"
    assert machine.back_up() == 0
    with tarfile.open(machine.backup.parent / "new" / "riak-data.tar.gz") as archive:
        assert {Path(name).name for name in archive.getnames()} == {"ring", "manifest"}


def test_what_is_not_to_run_or_not_there_is_not_started(machine: Machine) -> None:
    machine.has(GATEWAY, "disabled", "inactive")
    (machine.folder / "bin" / "units" / RIAK_CS).unlink()
    assert machine.restore() == 0
    assert machine.log() == [f"stop {AGENT}", f"stop {RIAK}", f"start {RIAK}", f"start {AGENT}"]
    assert not machine.runs(GATEWAY)
