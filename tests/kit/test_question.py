"""tasks/ask.yml: only a typed yes goes on, and nobody at a terminal is no yes."""

import os
import re
import sys
from pathlib import Path

import pytest
import yaml

from tests.kit.conftest import ROOT
from tests.support.terminal import Terminal


@pytest.fixture
def play(tmp_path: Path) -> Path:
    tasks = [
        {"ansible.builtin.include_tasks": str(ROOT / "playbooks/tasks/ask.yml"), "vars": {"ask_question": "Begin?"}},
        {"ansible.builtin.debug": {"msg": "it went on"}},
    ]
    path = tmp_path / "play.yml"
    path.write_text(yaml.safe_dump([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
    return path


def test_without_a_terminal_it_stops(play: Path, tool) -> None:
    run = tool("ansible-playbook", "-i", "one,two,three,", "-c", "local", play)
    assert run.returncode != 0
    assert re.search(r"Nothing was changed on one.*A question needs a\s+terminal", run.stdout, re.DOTALL)
    assert "it went on" not in run.stdout


@pytest.mark.parametrize(("answer", "goes_on"), [("yes", True), ("", False), ("no", False)])
def test_only_a_typed_yes_goes_on(play: Path, answer: str, goes_on: bool) -> None:
    own = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{own}:{os.environ['PATH']}", "ANSIBLE_NOCOLOR": "1"}
    command = ["ansible-playbook", "-i", "one,two,three,", "-c", "local", str(play)]
    terminal = Terminal(command, ROOT, environment)
    terminal.wait_for(r"Begin\? Type yes")
    terminal.answer(answer, until="Somebody said yes")
    assert (terminal.finish() == 0) is goes_on
    assert ("it went on" in terminal.output) is goes_on
