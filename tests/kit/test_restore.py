"""A restore that broke off is run again: what it had left stopped starts, and nothing else does.

The role's own tasks on this machine, with Ansible's own module for units, over a systemctl that keeps its units in
files: the lab (tests/hosts/test_backup.py) restores on a real systemd, but nothing breaks off there.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

AGENT, GATEWAY = "millrace-agent.service", "millrace-gateway.service"
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
    """One with a backup of the control plane."""

    tool: Any
    folder: Path

    def __post_init__(self) -> None:
        (self.folder / "bin" / "units").mkdir(parents=True)
        systemctl = self.folder / "bin" / "systemctl"
        systemctl.write_text(SYSTEMCTL)
        systemctl.chmod(0o755)
        backup = self.folder / "backups" / "20261122T210000Z"
        backup.mkdir(parents=True)
        for name in ("journal.db", "catalog.db", "controlplane-config.tar.gz"):
            (backup / name).write_text(f"{name} of the backup")
        sums = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in backup.iterdir()]
        (backup / "SHA256SUMS").write_text("".join(sums))
        self.data.mkdir()
        (self.data / "journal.db").write_text("of today")
        play = {
            "hosts": "localhost",
            "connection": "local",
            "gather_facts": False,
            "tasks": [{"ansible.builtin.import_role": {"name": "backup", "tasks_from": "restore"}}],
            "vars": {
                "ansible_python_interpreter": "{{ ansible_playbook_python }}",
                "backup_parts": ["controlplane"],
                "backup_dir": str(backup.parent),
                "backup_controlplane_data_dir": str(self.data),
                "backup_restore_confirmed": True,
                "backup_restore_settings": False,
            },
        }
        (self.folder / "play.yml").write_text(yaml.safe_dump([play]))

    @property
    def data(self) -> Path:
        return self.folder / "data"

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
        path = f"{self.folder / 'bin'}:{os.environ['PATH']}"
        run = self.tool("ansible-playbook", "-i", "localhost,", self.folder / "play.yml", PATH=path)
        print(run.stdout, run.stderr)
        return int(run.returncode)


@pytest.fixture
def machine(tool: Any, tmp_path: Path) -> Machine:
    machine = Machine(tool, tmp_path)
    machine.has(AGENT, "enabled", "active")
    machine.has(GATEWAY, "enabled", "active")
    return machine


def test_run_again_after_it_broke_off_it_starts_what_it_had_left_stopped(machine: Machine) -> None:
    shutil.move(machine.data, machine.folder / "elsewhere")  # a disk that is not mounted
    assert machine.restore() != 0
    assert machine.log() == [f"stop {AGENT}", f"stop {GATEWAY}"]
    shutil.move(machine.folder / "elsewhere", machine.data)
    assert machine.restore() == 0
    assert machine.log() == [f"start {GATEWAY}", f"start {AGENT}"]
    assert (machine.data / "journal.db").read_text() == "journal.db of the backup"
    assert (machine.data / "journal.db.before-restore").read_text() == "of today"


def test_what_is_not_to_run_is_not_started(machine: Machine) -> None:
    machine.has(GATEWAY, "disabled", "inactive")
    assert machine.restore() == 0
    assert machine.log() == [f"stop {AGENT}", f"start {AGENT}"]
    assert not machine.runs(GATEWAY)


def test_a_machine_without_a_gateway_is_restored(machine: Machine) -> None:
    (machine.folder / "bin" / "units" / GATEWAY).unlink()
    assert machine.restore() == 0
    assert machine.log() == [f"stop {AGENT}", f"start {AGENT}"]
