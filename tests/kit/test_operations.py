"""docs/operations.md names what is there: playbooks, variables, settings, alerts, ports, defaults."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from controlplane.settings.example import example_toml
from controlplane.settings.tree import Gc
from tests.kit.conftest import ROOT

TEXT = (ROOT / "docs/operations.md").read_text()
QUOTED = re.findall(r"`([^`\n]+)`", TEXT)
PLAYBOOKS = {path.stem for path in (ROOT / "playbooks").glob("*.yml")}
VARIABLE = re.compile(
    r"(?<![a-z_])(?:riak|riak_cs|cluster|host|haproxy|etcd|backup|monitoring|preflight|upgrade|verify)_[a-z0-9_]+"
)


def defaults(role: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / f"roles/{role}/defaults/main.yml").read_text())
    return found


def section(title: str) -> str:
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL)
    assert found, title
    return found[1]


def test_every_playbook_has_its_row_and_no_other() -> None:
    rows = re.findall(r"^\| `([a-z_]+)` \|", section("Playbooks"), re.MULTILINE)
    assert sorted(rows) == sorted(PLAYBOOKS)


def test_every_variable_is_one() -> None:
    known = " ".join(
        path.read_text() for folder in ("roles", "playbooks", "inventories") for path in (ROOT / folder).rglob("*.yml")
    )
    named = {name for quoted in QUOTED for name in VARIABLE.findall(quoted)} - {"riak_cs"}
    assert len(named) > 20
    assert {name for name in named if not re.search(rf"\b{name}\b", known)} - PLAYBOOKS == set()


def test_every_setting_is_one() -> None:
    tables: dict[str, set[str]] = {}
    name = ""
    for line in example_toml().splitlines():
        if header := re.match(r"#?\[\[?([a-z0-9_.]+)\]", line):
            name = header[1]
            table, _, key_of_tables = name.rpartition(".")
            tables.setdefault(table, set()).add(key_of_tables)
        elif key := re.match(r"#([a-z0-9_]+) = ", line):
            tables.setdefault(name, set()).add(key[1])
    named = [quoted.split(".") for quoted in QUOTED if re.fullmatch(r"(gc|s3|mirror|directory)\.[a-z_]+", quoted)]
    riak_cs_own = {"interval", "leeway_period"}
    assert [(table, key) for table, key in named if key not in tables[table] | riak_cs_own] == []


def test_files_that_are_named_are_there() -> None:
    for path in re.findall(r"\]\(([^)#]+)\)", TEXT):
        assert (ROOT / "docs" / path).exists(), path
    for quoted in QUOTED:
        if re.match(r"(tests|inventories|roles|docs)/", quoted):
            pattern = quoted.removesuffix(".vault.yml.template")
            assert list(ROOT.glob(pattern)) or quoted.startswith("inventories/mine"), quoted


def test_alerts_that_are_named_exist() -> None:
    known = set(re.findall(r"alert: (\w+)", (ROOT / "roles/monitoring/files/rules/millrace.yml").read_text()))
    named = set(re.findall(r"\b(Millrace[A-Z]\w+|DiskFilling)\b", TEXT))
    assert named <= known


def test_the_table_of_ports_is_what_the_firewall_lets_in() -> None:
    """Each port of the bridge to the firewall stands in the table, and no other."""
    bridge = (ROOT / "playbooks/group_vars/all/host.yml").read_text()
    firewall = set(re.findall(r"'(\d{2,}(?:-\d+)?)'", bridge)) | {"22"}
    table = [row.split("|")[1] for row in section("Security").splitlines() if re.match(r"\| \d", row)]
    assert {port.strip() for cell in table for port in cell.split(",")} == expand(firewall)


def expand(ports: set[str]) -> set[str]:
    """8470-8472 are three rows of the table: what listens on each is another thing."""
    apart = {"8470-8472": {"8470", "8471", "8472"}}
    return {one for port in ports for one in apart.get(port, {port})}


@pytest.mark.parametrize(
    ("words", "role", "name", "value"),
    [
        ("`riak_target_n_val` is 4", "riak", "riak_target_n_val", 4),
        ("(`riak_n_val`, 3)", "riak", "riak_n_val", 3),
        ("35 % of the machine's memory", "riak", "riak_default_memory_percent", 35),
        ("`R / N x 64 MB` at most", "riak", "riak_hot_memory_per_vnode", "64MB"),
        ("`riak_cs_gc_leeway_period`, 24 h", "riak_cs", "riak_cs_gc_leeway_period", "24h"),
        ("524288 in the drop-in", "riak_cs", "riak_cs_limit_nofile", 524288),
        ("up to 2 GiB of data", "etcd", "etcd_quota_bytes", 2 << 30),
    ],
)
def test_defaults_are_the_roles(words: str, role: str, name: str, value: object) -> None:
    assert words in TEXT
    assert defaults(role)[name] == value


def test_figures_of_the_control_plane_are_its_defaults() -> None:
    own = defaults("riak_cs")
    connections = own["riak_cs_pool_request_size"] + own["riak_cs_pool_list_size"]
    assert f"holds up to {connections} connections" in TEXT
    assert f"every {Gc().interval_s / 60:.0f} minutes (`gc.interval_s`)" in TEXT
    assert f"`gc.lease_ttl_s` ({Gc().lease_ttl_s:.0f} s)" in TEXT


def test_pairs_of_versions_are_those_of_preflight() -> None:
    pairs = defaults("preflight")["preflight_riak_cs_by_riak"]
    for riak, taken in pairs.items():
        last = f" and {taken[-1]}" if len(taken) > 1 else taken[0]
        assert f"{riak} takes {', '.join(taken[:-1])}{last}" in TEXT


def test_upgrade_steps_are_those_of_the_roles() -> None:
    steps = re.findall(r"^\| (KV|CS) ([\d.]+) \| \1 ([\d.]+) \|", section("Upgrades"), re.MULTILINE)
    for product, role, variable in (("KV", "riak", "__riak_versions"), ("CS", "riak_cs", "__riak_cs_versions")):
        versions = yaml.safe_load((ROOT / f"roles/{role}/vars/main.yml").read_text())[variable]
        wanted = {(old, new) for new, facts in versions.items() for old in facts["upgrade_from"] if old != new}
        assert {(old, new) for name, old, new in steps if name == product} == wanted


def test_every_recorded_surprise_has_its_row() -> None:
    cells = re.findall(r"^\| (\d+(?:, \d+)*) \|", section("What Riak CS does that you would not expect"), re.MULTILINE)
    numbers = [int(number) for cell in cells for number in cell.split(", ")]
    assert numbers == list(range(1, 26))


def test_no_line_is_left_to_be_filled_in() -> None:
    assert not re.search(r"\b(TODO|TBD|FIXME|DURATIONS|S3FRONT|SITE|VERIFY|RESTART|UPGRADE)\b", TEXT)
    assert Path(ROOT / "README.md").read_text().count("docs/operations.md") >= 1
