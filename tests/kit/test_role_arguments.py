"""Every role names the same variables in its argument specification and its defaults, and only its own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROLES = Path(__file__).resolve().parents[2] / "roles"
NAMED = ["backup", "certificate", "controlplane", "etcd", "haproxy", "host", "monitoring"]
CONDITIONAL = {"etcd_ca_dir", "etcd_root_password", "haproxy_ca_dir"}
"""Without a default by intent: secrets, and places needed only when a feature is on. Preflight asks for them."""


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text()) or {}


@pytest.mark.parametrize("name", NAMED)
def test_specification_and_defaults_name_the_same_variables(name: str) -> None:
    options = load(ROLES / name / "meta" / "argument_specs.yml")["argument_specs"]["main"]["options"]
    defaults = load(ROLES / name / "defaults" / "main.yml")
    required = {key for key, option in options.items() if option.get("required")}
    assert defaults.keys() == options.keys() - required - CONDITIONAL
    assert all(option["description"] for option in options.values())


@pytest.mark.parametrize("name", NAMED)
def test_variables_carry_the_prefix_of_their_role(name: str) -> None:
    defaults = load(ROLES / name / "defaults" / "main.yml")
    assert [key for key in defaults if not key.startswith(f"{name}_")] == []
    internals = load(ROLES / name / "vars" / "main.yml") if (ROLES / name / "vars" / "main.yml").exists() else {}
    assert [key for key in internals if not key.startswith(f"__{name}_")] == []


@pytest.mark.parametrize("name", NAMED)
def test_no_role_names_a_group_of_the_inventory(name: str) -> None:
    for path in (ROLES / name).rglob("*"):
        if path.suffix in (".yml", ".j2"):
            text = path.read_text()
            assert not re.search(r"groups\s*[\[.]\s*['\"]?[a-z]|group_names", text), path


@pytest.mark.parametrize("name", NAMED)
def test_templates_say_that_ansible_manages_them(name: str) -> None:
    included = {"hardening.j2"}
    for path in (ROLES / name / "templates").glob("*.j2"):
        assert path.name in included or "ansible_managed" in path.read_text(), path
