"""Each tunable of the host is in force, or it is said which is not and why; nothing fails because of one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tests.kit.conftest import load
from tests.kit.test_families import Role

tunables = load("roles/host/library/kernel_tunables.py")
Outcome = dict[str, Any]


class Ended(Exception):
    """What exit_json was told."""


class Module:
    def __init__(self, check_mode: bool, **params: Any) -> None:
        self.check_mode = check_mode
        self.params = {"sysctl": {}, "files": {}, "container": False} | params

    def exit_json(self, **values: Any) -> NoReturn:
        raise Ended(values)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Outcome]:
    def outcome(check_mode: bool = False, **params: Any) -> Outcome:
        monkeypatch.setattr(tunables, "AnsibleModule", lambda **_: Module(check_mode, **params))
        with pytest.raises(Ended) as ended:
            tunables.main()
        found: Outcome = ended.value.args[0]
        return found

    return outcome


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "swappiness"
    path.write_text("60\n")
    return path


def test_what_the_kernel_lets_is_set_once(run: Callable[..., Outcome], file: Path) -> None:
    wanted = {str(file): "0"}
    assert run(check_mode=True, files=wanted) == {"changed": True, "applied": [str(file)], "not_applied": []}
    assert file.read_text() == "60\n"
    assert run(files=wanted) == {"changed": True, "applied": [str(file)], "not_applied": []}
    assert file.read_text() == "0"
    assert run(files=wanted) == {"changed": False, "applied": [], "not_applied": []}


def test_of_a_list_of_choices_the_one_in_brackets_is_in_force(run: Callable[..., Outcome], file: Path) -> None:
    file.write_text("always madvise [never]\n")
    assert run(files={str(file): "never"})["changed"] is False
    assert run(check_mode=True, files={str(file): "always"})["changed"] is True
    file.write_text("4096\t131072   6291456\n")
    assert run(files={str(file): "4096 131072 6291456"})["changed"] is False


@pytest.mark.parametrize("check_mode", [True, False])
def test_what_it_does_not_is_said_with_its_reason_and_the_rest_is_done(
    run: Callable[..., Outcome], file: Path, tmp_path: Path, check_mode: bool
) -> None:
    missing = tmp_path / "missing"
    found = run(check_mode, sysctl={"kernel.ostype": "Minix"}, files={str(file): "1", str(missing): "x"})
    assert found["applied"] == [str(file)]
    assert len(found["not_applied"]) == 2
    assert f"{missing} = x: this kernel does not have it here" in found["not_applied"]
    assert any(line.startswith("kernel.ostype = Minix: the kernel refuses it: ") for line in found["not_applied"])


def test_a_value_that_is_taken_otherwise_is_said(run: Callable[..., Outcome]) -> None:
    found = run(files={"/dev/null": "5"})
    assert found == {"changed": False, "applied": [], "not_applied": ["/dev/null = 5: the kernel took '' instead"]}


def test_a_container_leaves_alone_what_is_the_machines(run: Callable[..., Outcome], file: Path) -> None:
    found = run(container=True, sysctl={"vm.swappiness": "-1"}, files={str(file): "0"})
    assert file.read_text() == "60\n"
    assert found["changed"] is False
    assert sorted(line.split(" = ")[0] for line in found["not_applied"]) == [str(file), "vm.swappiness"]
    assert all(line.endswith(tunables.SHARED) for line in found["not_applied"])
    assert run(container=True, files={str(file): "60"})["not_applied"] == [], "it is as it should be"


def test_all_of_them_last_over_a_reboot() -> None:
    """What is set now is also in a file that the system reads when it starts."""
    role = Role("host", "Debian", ansible_managed="by Ansible")
    templates = Path(tunables.__file__).parents[1] / "templates"
    sysctl = str(role.value((templates / "sysctl.conf.j2").read_text()))
    for name, value in role.value("{{ host_sysctl }}").items():
        assert f"-{name} = {value}" in sysctl.splitlines()
    pages = str(role.value((templates / "tmpfiles.conf.j2").read_text()))
    for path, value in role.value("{{ __host_hugepage_files }}").items():
        assert f"w- {path} - - - - {value}" in pages.splitlines()
