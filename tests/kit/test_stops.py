"""A playbook that fails in one play does not go on with the next one, on hosts that had no part in the failure: the old
host of a replacement must not be stopped because the new one has lost its network."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.kit.conftest import ROOT

PLAYBOOKS = sorted((ROOT / "playbooks").glob("*.yml"))
INVENTORY = """\
[new]
good ansible_connection=local
gone ansible_host=127.0.0.1 ansible_port=1
[old]
other ansible_connection=local
[all:vars]
ansible_python_interpreter={{ ansible_playbook_python }}
"""
TOGETHER = {"any_errors_fatal": True, "max_fail_percentage": 0}
ALONE = {"max_fail_percentage": 0}


def outcome(tool: Any, folder: Path, hosts: str, form: dict[str, Any], task: dict[str, Any]) -> tuple[int, bool]:
    """Exit code, and whether the next play ran."""
    plays = [
        {"hosts": hosts, "gather_facts": False, "tasks": [task], **form},
        {"hosts": "old", "gather_facts": False, "tasks": [{"ansible.builtin.debug": {"msg": "the old host stops"}}]},
    ]
    (folder / "hosts").write_text(INVENTORY)
    (folder / "play.yml").write_text(yaml.safe_dump(plays))
    run = tool("ansible-playbook", "-i", folder / "hosts", folder / "play.yml")
    print(run.stdout, run.stderr)
    return run.returncode, "the old host stops" in run.stdout


@pytest.mark.parametrize("task", ["ping", "fail"])
@pytest.mark.parametrize(("hosts", "form"), [("new", TOGETHER), ("gone", TOGETHER), ("gone", ALONE), ("good", ALONE)])
def test_the_forms_that_the_playbooks_have_stop(
    tool: Any, tmp_path: Path, hosts: str, form: dict[str, Any], task: str
) -> None:
    code, went_on = outcome(tool, tmp_path, hosts, form, {f"ansible.builtin.{task}": {}})
    fails = hosts != "good" or task == "fail"
    assert (code != 0) is fails
    assert went_on is not fails


def test_errors_that_are_fatal_alone_do_not_stop_it(tool: Any, tmp_path: Path) -> None:
    """Why there are two words: an unreachable host is counted as failed too, which is not the number of hosts."""
    code, went_on = outcome(tool, tmp_path, "gone", {"any_errors_fatal": True}, {"ansible.builtin.ping": {}})
    assert code != 0
    assert went_on, "Ansible has mended it: max_fail_percentage is not needed any more"


@pytest.mark.parametrize("path", PLAYBOOKS, ids=[path.stem for path in PLAYBOOKS])
def test_every_play_has_one_of_these_forms(path: Path) -> None:
    for play in yaml.safe_load(path.read_text()):
        if "any_errors_fatal" not in play or path.stem == "verify":  # verify goes on, to find all that is wrong
            continue
        if "wake.yml" in str(play):  # a rescue would count as a failure; the next play has the same hosts
            continue
        assert play.get("max_fail_percentage") == 0, play["name"]
        assert "serial" not in play, play["name"]


@pytest.mark.parametrize("first", ["gone", "good"])
@pytest.mark.parametrize("serial", [1, 2])
def test_one_at_a_time_stops_at_the_first_whatever_ails_it(tool: Any, tmp_path: Path, first: str, serial: int) -> None:
    """Two at a time do not when one of them is unreachable: hence `serial: 1`."""
    names = ["a", "b", "c", "d"]
    where = {"gone": {"ansible_host": "127.0.0.1", "ansible_port": 1}, "good": {"ansible_connection": "local"}}
    hosts = {name: where[first] if name == "a" else where["good"] for name in names}
    python = {"ansible_python_interpreter": "{{ ansible_playbook_python }}"}
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": hosts, "vars": python}}))
    tasks = [
        {"ansible.builtin.ping": {}},
        {"ansible.builtin.fail": {}, "when": "inventory_hostname == 'a'"},
        {"ansible.builtin.debug": {"msg": "done on {{ inventory_hostname }}"}},
    ]
    play = {"hosts": "all", "gather_facts": False, "serial": serial, "tasks": tasks, **ALONE}
    (tmp_path / "play.yml").write_text(yaml.safe_dump([play]))
    run = tool("ansible-playbook", "-i", tmp_path / "hosts.yml", tmp_path / "play.yml")
    assert run.returncode != 0
    reached = [name for name in names if f"done on {name}" in run.stdout]
    assert reached == (["b", "c", "d"] if (first, serial) == ("gone", 2) else []), run.stdout


@pytest.mark.parametrize("path", PLAYBOOKS, ids=[path.stem for path in PLAYBOOKS])
def test_what_goes_host_by_host_goes_one_by_one(path: Path) -> None:
    for play in yaml.safe_load(path.read_text()):
        assert play.get("serial", 1) == 1, play["name"]
