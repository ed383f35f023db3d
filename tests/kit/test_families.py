"""What the roles install, and where they write, on each family of systems. By Ansible's own engine over the roles' own
tasks: no test has an EL host, so dnf itself is not run here."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader
from ansible.template import Templar, trust_as_template

from tests.kit.conftest import ROOT

init_plugin_loader()  # lookups are found by it
FAMILIES = {
    "Debian": {"os_family": "Debian", "distribution": "Debian", "pkg_mgr": "apt"},
    "RedHat": {"os_family": "RedHat", "distribution": "Rocky", "pkg_mgr": "dnf"},
}
MODULE = {"Debian": "ansible.builtin.apt", "RedHat": "ansible.builtin.dnf"}
INSTALLERS = tuple(MODULE.values())
REPOSITORY = {
    "riak_yum_repository": {"baseurl": "https://packages.invalid/el9", "gpgkey": "https://packages.invalid/key"},
    "riak_apt_repository": {"uris": "https://packages.invalid/deb", "suites": "bookworm", "signed_by": "KEY"},
}


class Role:
    """Tasks of one role as a host of one family sees them."""

    def __init__(self, name: str, family: str, **more: Any) -> None:
        self.name, self._loader = name, DataLoader()
        values: dict[str, Any] = {"inventory_hostname": "n1", "ansible_check_mode": False, "role_path": f"/{name}"}
        for part in ("defaults", "vars"):
            path = ROOT / f"roles/{name}/{part}/main.yml"
            if path.exists():
                values |= self._loader.load_from_file(str(path), trusted_as_template=True) or {}
        self.values = values | {"ansible_facts": FAMILIES[family]} | more

    def tasks(self, file: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._loader.load_from_file(
            str(ROOT / f"roles/{self.name}/tasks/{file}.yml"), trusted_as_template=True
        )
        return found

    def value(self, template: Any, task: dict[str, Any] | None = None) -> Any:
        templar = Templar(loader=self._loader, variables=self.values | (task or {}).get("vars", {}))
        return templar.template(trust_as_template(template) if isinstance(template, str) else template)

    def runs(self, task: dict[str, Any]) -> bool:
        conditions = task.get("when", [])
        conditions = conditions if isinstance(conditions, list) else [conditions]
        return all(self.value("{{ (" + condition + ") | bool }}", task) for condition in conditions)

    def installs(self, file: str = "install") -> list[tuple[str, Any]]:
        """Module and packages of every installing task that runs, in order."""
        running = [
            task for task in self.tasks(file) if any(module in task for module in INSTALLERS) and self.runs(task)
        ]
        modules = [next(module for module in INSTALLERS if module in task) for task in running]
        return [
            (module, self.value(task[module].get("name", task[module].get("deb")), task))
            for module, task in zip(modules, running, strict=True)
        ]


SYSTEM_PACKAGES = {
    ("host", "Debian"): ["chrony", "nftables"],
    ("host", "RedHat"): ["chrony", "nftables"],
    ("etcd", "Debian"): ["etcd-server", "etcd-client"],
    ("etcd", "RedHat"): ["etcd"],
    ("haproxy", "Debian"): ["haproxy"],
    ("haproxy", "RedHat"): ["haproxy", "python3-libsemanage"],
    ("controlplane", "Debian"): ["python3", "python3-venv"],
    ("controlplane", "RedHat"): ["python3.11", "python3.11-pip"],
}


@pytest.mark.parametrize(("role", "family"), SYSTEM_PACKAGES)
def test_each_family_installs_its_packages_by_its_own_tool(role: str, family: str) -> None:
    assert Role(role, family).installs() == [(MODULE[family], SYSTEM_PACKAGES[role, family])]


@pytest.mark.parametrize("role", ["host", "etcd", "haproxy", "controlplane", "monitoring"])
@pytest.mark.parametrize(
    ("code", "lines", "asks"),
    [
        (0, ["installed", "installed"], False),
        (1, ["installed"], True),
        (0, ["installed", "config-files"], True),
        (0, ["half-configured"], True),
        (1, [], True),
    ],
)
def test_apt_is_asked_only_where_something_is_missing(role: str, code: int, lines: list[str], asks: bool) -> None:
    here = {"rc": code, "stdout_lines": lines}
    made = Role(role, "Debian", **{f"__{role}_packages_here": here})
    assert [module for module, _ in made.installs()] == [MODULE["Debian"]] * asks
    (look,) = [task for task in made.tasks("install") if "dpkg-query" in str(task.get("ansible.builtin.command"))]
    (install,) = [task for task in made.tasks("install") if MODULE["Debian"] in task]
    assert made.runs(look)
    assert made.value(look["ansible.builtin.command"]["argv"])[3:] == made.value(install[MODULE["Debian"]]["name"])


@pytest.mark.parametrize("family", FAMILIES)
def test_the_host_writes_where_the_units_of_its_family_read(family: str) -> None:
    role = Role("host", family)
    etc = {"Debian": ("/etc/nftables.conf", "/etc/chrony/chrony.conf", "chrony")}
    rules, settings, service = etc.get(family, ("/etc/sysconfig/nftables.conf", "/etc/chrony.conf", "chronyd"))
    written = [
        role.value(task["ansible.builtin.template"]["dest"])
        for file in ("firewall", "time")
        for task in role.tasks(file)
        if "ansible.builtin.template" in task
    ]
    assert {rules, settings} <= set(written)
    assert role.value("{{ __host_service_of_clock.chrony }}") == service
    loads = [
        task for task in role.tasks("firewall_load") if rules in str(role.value(task.get("ansible.builtin.command")))
    ]
    assert len(loads) == 1
    assert role.value("{{ ansible_facts.os_family in __host_families }}")


@pytest.mark.parametrize(("family", "there", "stops"), [("RedHat", True, 1), ("RedHat", False, 0), ("Debian", True, 0)])
def test_firewalld_makes_room_for_nftables(family: str, there: bool, stops: int) -> None:
    role = Role("host", family, __host_firewalld={"stat": {"exists": there}})
    tasks = [task for task in role.tasks("firewall") if "ansible.builtin.systemd_service" in task]
    assert sum(role.runs(task) for task in tasks) == stops


@pytest.mark.parametrize("selinux", [None, {}, {"status": "disabled"}, {"status": "enabled"}])
def test_selinux_lets_haproxy_have_its_ports(selinux: dict[str, str] | None) -> None:
    facts = FAMILIES["RedHat"] | ({} if selinux is None else {"selinux": selinux})
    role = Role("haproxy", "RedHat", ansible_facts=facts)
    (task,) = [task for task in role.tasks("configure") if "ansible.posix.seboolean" in task]
    assert role.runs(task) is ((selinux or {}).get("status") == "enabled")


PRODUCTS = ["riak", "riak_cs", "stanchion"]


@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.parametrize(("tool", "file"), [("apt", "apt"), ("dnf", "dnf"), ("dnf5", "dnf"), ("yum", "dnf")])
def test_a_repository_is_used_by_the_hosts_own_tool(product: str, tool: str, file: str) -> None:
    role = Role(product, "RedHat", ansible_facts={"os_family": "any", "pkg_mgr": tool})
    included = [role.value(task["ansible.builtin.include_tasks"]) for task in role.tasks("install")
                if "pkg_mgr" in str(task.get("ansible.builtin.include_tasks"))]  # fmt: skip
    assert included == [f"install_{file}.yml"]
    assert (ROOT / f"roles/{product}/tasks/install_{file}.yml").exists()


@pytest.mark.parametrize("product", PRODUCTS)
def test_dnf_takes_the_pinned_version_and_keeps_it(product: str) -> None:
    source = {"baseurl": "https://packages.invalid/el9", "gpgkey": "https://packages.invalid/key"}
    values = {f"{product}_version": "3.1.7", f"{product}_yum_repository": source, f"__{product}_repository": {}}
    role = Role(product, "RedHat", **values)
    package = product.replace("_", "-")
    add, install = role.tasks("install_dnf")
    assert role.runs(add)
    repository = role.value(add["ansible.builtin.yum_repository"])
    assert (repository["baseurl"], repository["gpgcheck"]) == ("https://packages.invalid/el9", True)
    assert repository["exclude"] == package
    asked = role.value(install["ansible.builtin.dnf"])
    assert (asked["name"], asked["disable_excludes"], asked["state"]) == (f"{package}-3.1.7*", package, "present")
    assert "allow_downgrade" not in asked


@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_folder_may_hold_packages_of_both_families(product: str, family: str, tmp_path: Path) -> None:
    package = product.replace("_", "-")
    files = {"Debian": f"{package}_3.1.7-1_amd64.deb", "RedHat": f"{package}-3.1.7-1.el9.x86_64.rpm"}
    sums = {"Debian": "a" * 64, "RedHat": "b" * 64}
    (tmp_path / "SHA256SUMS").write_text("".join(f"{sums[name]}  {file}\n" for name, file in files.items()))
    values = {
        f"{product}_version": "3.1.7",
        f"{product}_package_folder": str(tmp_path),
        f"__{product}_found": {"files": [{"path": str(tmp_path / file)} for file in files.values()]},
        f"__{product}_copied": {"stat": {"exists": True, "checksum": sums[family]}},
    }
    role = Role(product, family, **values)
    asserts = [task for task in role.tasks("install_folder") if "ansible.builtin.assert" in task]
    for task in asserts:
        that = task["ansible.builtin.assert"]["that"]
        for condition in that if isinstance(that, list) else [that]:
            assert role.value("{{ " + condition + " }}", task), condition
    assert len(asserts) == 2
    assert role.installs("install_folder") == [(MODULE[family], f"/var/cache/{files[family]}")]


@pytest.mark.parametrize("product", ["riak", "riak_cs"])
@pytest.mark.parametrize(
    ("family", "words", "version", "finishes"),
    [
        ("Debian", "ii  3.1.7-1", "3.1.7-1", False),
        ("Debian", "iF  3.1.7-1", "", True),
        ("Debian", "un  <none>", "", False),
        ("RedHat", "ii  3.1.7-1.el9", "3.1.7-1.el9", False),
        ("RedHat", "package riak is not installed", "", False),
    ],
)
def test_the_installed_version_is_read(product: str, family: str, words: str, version: str, finishes: bool) -> None:
    state = {f"__{product}_package_state": {"stdout": words}, f"{product}_version": "3.1.7"}
    role = Role(product, family, **state)
    note = role.tasks("installed")[-1]
    facts = role.value(note["ansible.builtin.set_fact"], note)
    assert (facts[f"{product}_installed_version"], facts[f"{product}_is_installed"]) == (version, bool(version))
    role.values |= facts
    (finish,) = [task for task in role.tasks("install") if "dpkg" in str(task.get("ansible.builtin.command"))]
    assert role.runs(finish) is finishes


@pytest.mark.parametrize(("family", "there"), [("Debian", "/usr/lib"), ("RedHat", "/usr/lib64")])
def test_kv_finds_the_code_of_riak_cs(family: str, there: str) -> None:
    loader = DataLoader()
    bridge = loader.load_from_file(str(ROOT / "playbooks/group_vars/all/riak.yml"), trusted_as_template=True)
    values = bridge | {"ansible_facts": FAMILIES[family], "riak_cs_version": "3.2.4"}
    paths = Templar(loader=loader, variables=values).template(bridge["riak_add_paths"])
    assert paths == [f"{there}/riak-cs/lib/riak_cs-3.2.4/ebin"]
    assert Role("riak_cs", family).value("{{ __riak_cs_prefix }}") == f"{there}/riak-cs"


LAYOUTS = {
    "2": ("erts-5.10.3/bin/escript", "erts-5.10.3/bin/cuttlefish", "lib/10-riak.schema"),
    "3": ("erts-13.1.5/bin/escript", "bin/cuttlefish", "share/schema/riak.schema"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("product", "script", "words"),
    [
        ("riak", "check-riak-config", ["riak.conf"]),
        ("riak_cs", "check-riak-cs-config", ["riak-cs.conf"]),
        ("stanchion", "check-stanchion-config", []),
    ],
)
def test_the_checker_finds_cuttlefish_in_every_series(
    product: str, script: str, words: list[str], layout: str, tmp_path: Path
) -> None:
    """An escript that prints how it was called, and refuses a file with the word nonsense in it."""
    escript, cuttlefish, schema = (tmp_path / "release" / name for name in LAYOUTS[layout])
    for path in (escript, cuttlefish, schema):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    escript.write_text('#!/bin/sh\necho "$*"\nfor last; do :; done\n! grep -q nonsense "$last"\n')
    escript.chmod(0o755)
    etc = tmp_path / "etc"
    etc.mkdir()
    role = Role(product, "Debian", ansible_managed="by Ansible", **{
        f"__{product}_prefix": str(tmp_path / "release"), f"__{product}_etc_dir": str(etc)})  # fmt: skip
    checker = tmp_path / script
    checker.write_text(str(role.value((ROOT / f"roles/{product}/templates/{script}.j2").read_text())))
    candidate = tmp_path / "candidate"
    for text, code in (("ring_size = 64\n", 0), ("nonsense.key = 1\n", 1)):
        candidate.write_text(text)
        run = subprocess.run(["sh", checker, *words, candidate], capture_output=True, text=True, check=False)
        assert run.returncode == code
        if code:
            assert run.stderr.startswith(f"{cuttlefish} -e "), run.stderr
            assert f" -s {schema.parent} " in run.stderr
