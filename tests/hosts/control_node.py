"""How Ansible runs on the control node, which is this machine: as operators have it, or faster to the same effect."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import ansible_mitogen

ROOT = Path(__file__).resolve().parents[2]
INVENTORY = ROOT / "inventories/lab"
STOCK = os.environ.get("HOSTS_STOCK", "") != ""
"""Every playbook runs by Ansible's own strategy, as operators' do: so does `make hosts-quick`, with a site.yml on bare
hosts. Else what is broken off or refused does, since there the way of the tasks to the hosts matters, and what is
short. The long ones go by Mitogen's, which runs the same tasks and modules in one Python process a host: starting that
costs a CPU second a host, and each module after it a twentieth of what a process of its own does."""
LONG = (
    "site", "backup", "restore", "rolling_restart", "rotate_credentials", "upgrade", "add_node", "replace_node",
    "verify",
)  # fmt: skip
COLLECTIONS = ("ansible.posix", "community.crypto", "community.general")
"""All that the roles use. For each module of a collection on each host Mitogen looks into every collection that there
is, nearly a hundred: half a CPU second and more."""


def environment(scratch: Path, facts: Path, *, stock: bool) -> dict[str, str]:
    """Of ansible-playbook. It keeps its connections in `scratch`, and in `facts` what it knows of the hosts."""
    return {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_CALLBACKS_ENABLED": "ansible.posix.profile_tasks",
        "ANSIBLE_CALLBACK_PLUGINS": str(Path(__file__).with_name("callback_plugins")),
        "ANSIBLE_CACHE_PLUGIN": "ansible.builtin.jsonfile",
        "ANSIBLE_CACHE_PLUGIN_CONNECTION": str(facts),
        "ANSIBLE_SSH_CONTROL_PATH_DIR": str(scratch / "cp"),
        "PROFILE_TASKS_TASK_OUTPUT_LIMIT": "all",
        **({} if stock or STOCK else _by_mitogen(scratch)),
    }


def _by_mitogen(scratch: Path) -> dict[str, str]:
    return {
        "ANSIBLE_STRATEGY": "mitogen_linear",
        "ANSIBLE_STRATEGY_PLUGINS": str(Path(ansible_mitogen.__path__[0]) / "plugins/strategy"),
        "ANSIBLE_COLLECTIONS_PATH": str(_few_collections(scratch / "collections")),
        "ANSIBLE_COLLECTIONS_SCAN_SYS_PATH": "false",
    }


def _few_collections(folder: Path) -> Path:
    installed = Path(ansible_mitogen.__path__[0]).with_name("ansible_collections")
    for collection in COLLECTIONS:
        link = folder / "ansible_collections" / collection.replace(".", "/")
        link.parent.mkdir(parents=True, exist_ok=True)
        if link.is_symlink():
            link.unlink()  # of another virtual environment, perhaps
        link.symlink_to(installed / collection.replace(".", "/"))
    return folder
