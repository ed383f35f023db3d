"""What the drop-ins take from the services of the system: systemd understands it, and it is nothing that they need."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.kit.conftest import ROOT
from tests.kit.test_families import Role

HAPROXY = (
    "haproxy", "unit.conf.j2", {},
    "[Service]\nType=notify\nExecStart=/bin/true\n",
    {"CapabilityBoundingSet", "MemoryDenyWriteExecute", "PrivateDevices", "User"},
)  # fmt: skip
"""Its master stays root; its regular expressions are compiled to machine code; it logs to /dev/log."""
NODE_EXPORTER = (
    "monitoring", "environment.conf.j2",
    {"__monitoring_environment": "/etc/default/x", "__monitoring_confined": True},
    "[Service]\nUser=prometheus\nExecStart=/bin/true\n",
    {"ProtectSystem", "ProtectHome", "PrivateTmp", "PrivateDevices", "ProtectKernelTunables", "ProtectKernelModules",
     "ProtectKernelLogs", "ProtectControlGroups", "ProtectProc", "ReadWritePaths", "PrivateMounts"},
)  # fmt: skip
"""With file systems of its own it would measure these."""


@pytest.mark.parametrize(
    ("role", "template", "more", "stock", "never"), [HAPROXY, NODE_EXPORTER], ids=["haproxy", "node exporter"]
)
def test_a_service_is_confined_as_far_as_it_can_bear(
    tmp_path: Path, role: str, template: str, more: dict[str, object], stock: str, never: set[str]
) -> None:
    text = str(Role(role, "Debian", ansible_managed="by Ansible", **more).value(
        (ROOT / f"roles/{role}/templates/{template}").read_text()))  # fmt: skip
    keys = {line.partition("=")[0] for line in text.splitlines() if "=" in line and not line.startswith("#")}
    assert {"NoNewPrivileges", "RestrictNamespaces", "RestrictSUIDSGID", "LockPersonality"} <= keys
    assert keys & never == set()
    (tmp_path / "tried.service.d").mkdir()
    (tmp_path / "tried.service").write_text(stock)
    (tmp_path / "tried.service.d/millrace.conf").write_text(text)
    said = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "tried.service"],
        env={"SYSTEMD_UNIT_PATH": f"{tmp_path}:", "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert [line for line in (said.stdout + said.stderr).splitlines() if "millrace.conf" in line] == []
    assert said.returncode == 0, said.stderr
