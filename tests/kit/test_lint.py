"""yamllint, ansible-lint, the syntax of every playbook, and the Vagrantfile."""

import shutil

import pytest

from tests.kit.conftest import ROOT

PLAYBOOKS = sorted((ROOT / "playbooks").glob("*.yml"))


def test_yamllint(tool):
    run = tool("yamllint", "playbooks", "inventories", "roles")
    assert run.returncode == 0, run.stdout


@pytest.mark.timeout(600)
def test_ansible_lint(tool):
    """Profile production, without exceptions (.ansible-lint)."""
    run = tool("ansible-lint", "--offline", "-q")
    assert run.returncode == 0, run.stdout + run.stderr


def test_the_syntax_of_all_playbooks(tool):
    run = tool("ansible-playbook", "--syntax-check", "-i", "inventories/lab", *PLAYBOOKS)
    assert run.returncode == 0, run.stderr


def test_the_vagrantfile(tool, tmp_path):
    vagrant = shutil.which("vagrant")
    assert vagrant, "no vagrant program: install the package vagrant (apt-get install vagrant)"
    environment = {"VAGRANT_HOME": str(tmp_path / "home"), "VAGRANT_DOTFILE_PATH": str(tmp_path / "dot")}
    for count in ("1", "5"):
        run = tool(vagrant, "validate", "--ignore-provider", MILLRACE_NODES=count, **environment)
        assert run.returncode == 0, run.stdout + run.stderr
    refused = tool(vagrant, "validate", "--ignore-provider", MILLRACE_NODES="6", **environment)
    assert refused.returncode != 0
    assert "one to five nodes are possible" in refused.stderr
