"""The units around Riak CS's garbage collection: who may ask, as whom it runs, and that no batch outlives its agent."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from controlplane.settings.tree import Gc
from tests.kit.conftest import ROOT

SOCKET = "/run/millrace-riak-cs-gc.sock"


def render(role: str, template: str, **variables: Any) -> str:
    loader = DataLoader()
    found: dict[str, Any] = {}
    for part in ("defaults", "vars"):
        found |= loader.load_from_file(str(ROOT / f"roles/{role}/{part}/main.yml"), trusted_as_template=True)
    loader.set_basedir(str(ROOT / f"roles/{role}/templates"))
    own = {"ansible_managed": "by Ansible", "ansible_facts": {"os_family": "Debian"}, "role_path": "/roles/r"}
    templar = Templar(loader=loader, variables=found | own | variables)
    folder = ROOT / f"roles/{role}/templates"
    # Ansible's own includes are found beside the template; here they are put in place first.
    source = (folder / f"{template}.j2").read_text()
    source = source.replace("{% include 'hardening.j2' %}", _text(folder / "hardening.j2"))
    return str(templar.template(trust_as_template(source)))


def _text(path: Any) -> str:
    return path.read_text() if path.exists() else ""


@pytest.mark.parametrize("settings", [{}, {"gc": {}}, {"gc": {"socket": SOCKET}}])
def test_what_an_agent_began_is_halted_however_it_ends(settings: dict[str, Any]) -> None:
    unit = render("controlplane", "millrace-agent.service", controlplane_settings=settings)
    halts = [line for line in unit.splitlines() if line.startswith("ExecStopPost=")]
    if settings.get("gc"):
        assert halts == [
            "ExecStopPost=-/opt/millrace/current/bin/millrace gc halt --config /etc/millrace/millrace.toml"
        ]
    else:
        assert halts == []
    assert "NoNewPrivileges=yes" in unit
    assert "AF_UNIX" in unit


def test_the_socket_is_for_the_group_alone_and_runs_as_riak_cs() -> None:
    socket = render("riak_cs", "gc.socket", riak_cs_gc_group="millrace").splitlines()
    assert f"ListenStream={SOCKET}" in socket
    assert {"SocketUser=root", "SocketGroup=millrace", "SocketMode=0660", "Accept=yes"} <= set(socket)
    service = render("riak_cs", "gc.service").splitlines()
    assert {"User=riak_cs", "StandardInput=socket", "NoNewPrivileges=yes"} <= set(service)
    assert "ExecStart=/usr/local/lib/millrace/riak-cs-gc" in service
    assert "CollectMode=inactive-or-failed" in service


GC = {"riak_cs": ["n1", "n2", "n3"], "controlplane": ["n2", "n3", "n9"], "etcd": ["n1"]}


@pytest.mark.parametrize(
    ("host", "groups", "member", "group"),
    [
        ("n1", GC, "", ""),
        ("n2", GC, "", "millrace"),
        ("n1", GC | {"controlplane": ["n2"]}, "n1", ""),
        ("n2", GC | {"controlplane": ["n2"]}, "n1", ""),
        ("n2", GC | {"etcd": []}, "n1", ""),
        ("n1", {"riak_cs": ["n1"]}, "n1", ""),
    ],
)
def test_two_agents_beside_riak_cs_take_it_over_from_the_timer(
    host: str, groups: dict[str, list[str]], member: str, group: str
) -> None:
    loader = DataLoader()
    bridge = loader.load_from_file(str(ROOT / "playbooks/group_vars/all/gc.yml"), trusted_as_template=True)
    templar = Templar(loader=loader, variables=bridge | {"groups": groups, "inventory_hostname": host})

    def value(name: str) -> Any:
        return templar.template(trust_as_template("{{ " + name + " }}"))

    assert (value("riak_cs_gc_member"), value("riak_cs_gc_group")) == (member, group)
    assert value("__gc_settings") == ({"gc": {"socket": SOCKET}} if group else {})


def test_an_agent_may_take_as_long_to_stop_as_halting_takes() -> None:
    """A command under way, and the one that halts; the role knows the default that the settings have."""
    shipped = Gc().command_timeout_s
    end_s = {
        name: float(gc_end_s(gc))
        for name, gc in {
            "off": {},
            "shipped": {"socket": SOCKET},
            "own": {"socket": SOCKET, "command_timeout_s": 7},
        }.items()
    }
    assert end_s == {"off": 0, "shipped": 2 * shipped, "own": 14}
    stop_s = DataLoader().load_from_file(str(ROOT / "roles/controlplane/defaults/main.yml"))[
        "controlplane_stop_timeout_s"
    ]
    assert stop_s > 2 * shipped


def gc_end_s(gc: dict[str, Any]) -> str:
    loader = DataLoader()
    found = loader.load_from_file(str(ROOT / "roles/controlplane/vars/main.yml"), trusted_as_template=True)
    templar = Templar(loader=loader, variables={**found, "controlplane_settings": {"gc": gc}})
    return str(templar.template(trust_as_template("{{ __controlplane_gc_end_s }}")))
