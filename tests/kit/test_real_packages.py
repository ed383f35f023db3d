"""The host tests on real packages (MILLRACE_RIAK_PACKAGES), as far as it can be seen without them: the stand-ins under
the names and versions that vendors give theirs go the same way, up to the package manager."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.hosts import packages as package_files
from tests.hosts.control_node import INVENTORY
from tests.hosts.packages import Packages
from tests.hosts.standin.packages.build_debs import RIAK, RIAK_CS, build
from tests.kit.conftest import ROOT

VENDORS = {
    "debian": ("3.2.3-1", "3.2.4-1"),
    "otp": ("3.2.3-OTP25", "3.2.4-OTP25"),
    "epoch": ("1:3.2.3+bookworm1", "1:3.2.4+bookworm1"),
}


def disguised(file: Path, name: str, version: str, target: Path) -> None:
    """A stand-in that says it is the real one."""
    root = target.parent / f"{target.stem}.d"
    subprocess.run(["dpkg-deb", "--raw-extract", str(file), str(root)], check=True)
    control = root / "DEBIAN/control"
    text = re.sub(r"(?m)^Package: .*$", f"Package: {name}", control.read_text())
    text = re.sub(r"(?m)^(Provides|Conflicts): .*\n", "", text)
    control.write_text(re.sub(r"(?m)^Version: .*$", f"Version: {version}", text))
    command = ["dpkg-deb", "--build", "--root-owner-group", "-Znone", str(root), str(target)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


@pytest.fixture(scope="module", params=VENDORS, ids=list(VENDORS))
def given(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What MILLRACE_RIAK_PACKAGES names: file names of a vendor's own, and an older version beside them."""
    folder, scratch = tmp_path_factory.mktemp("given"), tmp_path_factory.mktemp("built")
    for package, name, version, older in zip(
        (RIAK, RIAK_CS), ("riak", "riak-cs"), VENDORS[request.param], ("3.0.16-OTP22.3", "3.0.1-OTP22.3"), strict=True
    ):
        file = build(package, package_files.upstream(version), scratch)
        disguised(file, name, version, folder / f"{name}-vendors-own-name-{request.param}.deb")
        disguised(file, name, older, folder / f"an-older-{name}.deb")
    (folder / "README").write_text("not a package\n")
    return folder


@pytest.fixture(scope="module")
def real(given: Path, tmp_path_factory: pytest.TempPathFactory) -> Packages:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MILLRACE_RIAK_PACKAGES", str(given))
        return package_files.of_this_run(tmp_path_factory.mktemp("real"))


def test_the_newest_of_each_is_taken_with_its_sum(real: Packages) -> None:
    assert real.real
    assert (real.riak_version, real.riak_cs_version) == ("3.2.3", "3.2.4")
    files = sorted(path.name for path in real.folder.iterdir())
    assert len(files) == 3
    assert re.fullmatch(r"riak-cs_3\.2\.4\S*_all\.deb", files[1])
    assert re.fullmatch(r"riak_3\.2\.3\S*_all\.deb", files[2])
    command = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
    assert subprocess.run(command, cwd=real.folder, check=False, capture_output=True).returncode == 0


def test_a_folder_without_them_is_named(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"holds no \.deb file of the package riak"):
        package_files.real(tmp_path, tmp_path / "copies")


def play(tool: Any, folder: Path, packages: Packages, *tasks: dict[str, Any]) -> str:
    """Output of tasks on this machine in check mode, with the variables of inventories/lab."""
    lines = (INVENTORY / "group_vars/all/cluster.yml").read_text()
    values = {key: text for key, text in yaml.safe_load(lines).items() if re.match(r"lab_|riak_", key)}
    hosts = {
        "all": {
            "hosts": {"n1": {"ansible_connection": "local"}},
            "vars": values | {"ansible_python_interpreter": "{{ ansible_playbook_python }}"},
        }
    }
    (folder / "hosts.yml").write_text(yaml.safe_dump(hosts))
    (folder / "play.yml").write_text(
        yaml.safe_dump([{"hosts": "n1", "gather_facts": True, "gather_subset": ["min"], "tasks": list(tasks)}])
    )
    run = tool(
        "ansible-playbook", "--check", "-i", folder / "hosts.yml", folder / "play.yml",
        ANSIBLE_ROLES_PATH=str(ROOT / "roles"), ANSIBLE_LOCALHOST_WARNING="0", **packages.environment,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    return str(run.stdout)


def test_the_roles_take_the_files_from_the_folder(tool: Any, tmp_path: Path, real: Packages) -> None:
    """Up to the copy: the package, its version, the one file, its sum."""
    roles = {"riak": "riak", "riak_cs": "riak-cs"}
    tasks = [{"ansible.builtin.include_role": {"name": role, "tasks_from": "install"}} for role in roles]
    names = " and ".join(f"{{{{ {role}_package }}}}" for role in roles)
    output = play(tool, tmp_path, real, *tasks, {"ansible.builtin.debug": {"msg": f"installed: {names}"}})
    for role in roles:
        assert re.search(rf"TASK \[{role} : Copy it\] \*+\s+changed: \[n1\]", output), output
    assert "installed: riak and riak-cs" in output


def test_preflight_finds_nothing_wrong_with_the_folder(real: Packages) -> None:
    from tests.kit.conftest import load

    folders = load("roles/preflight/filter_plugins/preflight_findings.py").folders
    wanted = [
        {"package": name, "version": version, "source": "folder", "folder": str(real.folder)}
        for name, version in zip(real.names, (real.riak_version, real.riak_cs_version), strict=True)
    ]
    assert list(folders({"n1": {"wanted": {"packages": wanted}, "facts": {"family": "Debian"}}})) == []


def test_the_next_version_is_the_same_program(real: Packages, tmp_path: Path) -> None:
    """So the test of an upgrade needs one release of the real packages, not two."""
    newer = package_files.newer(real, tmp_path / "newer")
    assert (newer.riak_version, newer.riak_cs_version, newer.real) == ("3.2.4", "3.2.5", True)
    listing = subprocess.run(
        ["dpkg-deb", "--contents", str(newer.folder / "riak-cs_3.2.5-1_all.deb")],
        check=True, text=True, capture_output=True,
    ).stdout  # fmt: skip
    assert "./usr/lib/riak-cs/lib/riak_cs-3.2.5 -> riak_cs-3.2.4" in listing
    before = subprocess.run(["dpkg", "--compare-versions", "3.2.4-1", "gt", VENDORS["otp"][0]], check=False)
    assert before.returncode == 0


@pytest.mark.parametrize(
    ("version", "upstream"),
    [
        ("3.2.3-1", "3.2.3"),
        ("3.2.3-OTP25", "3.2.3"),
        ("3.2.3.OTP25-1.el9", "3.2.3"),
        ("1:3.2.3+bookworm1-2", "3.2.3"),
        ("3.2", "3.2"),
    ],
)
def test_the_version_of_a_package_is_what_its_numbers_say(version: str, upstream: str) -> None:
    assert package_files.upstream(version) == upstream


def test_no_host_test_speaks_of_the_stand_ins_names() -> None:
    """They would not be there."""
    for path in (ROOT / "tests/hosts").glob("*.py"):
        if path.name != "packages.py":
            assert not re.search(r"riak(-cs)?-standin|STANDIN_[A-Z]", path.read_text()), path.name
