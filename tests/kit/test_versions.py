"""What differs between versions of Riak KV and Riak CS, rendered for every pair; and one map that all agree with."""

from __future__ import annotations

import json
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from tests.kit.conftest import ROOT

RIAK = {"2.9": "2.9.10", "3.0": "3.0.16", "3.2": "3.2.3"}
RIAK_CS = {"2.1": "2.1.2", "3.0": "3.0.1", "3.1": "3.1.0", "3.2": "3.2.4"}
PAIRS = [(riak, riak_cs) for riak in RIAK for riak_cs in RIAK_CS]


def variables(path: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / path).read_text())
    return found


COMMON = {
    "inventory_hostname": "n1",
    "ansible_facts": {"os_family": "Debian"},
    "ansible_managed": "by Ansible",
    "riak_address": "10.0.0.1",
    "riak_cookie": "cookie-of-the-test",
    "riak_members": ["n1"],
    "riak_cs_address": "10.0.0.1",
    "riak_cs_cookie": "cookie-of-the-test",
    "riak_cs_members": ["n1", "n2"],
    "riak_cs_stanchion_subnet": "10.0.0.0",
    "riak_cs_stanchion_netmask": "255.255.255.0",
    "riak_cs_stanchion_host": "10.0.0.1:8085",
    "stanchion_address": "10.0.0.1",
    "stanchion_cookie": "cookie-of-the-test",
    "stanchion_admin_key": "KEY",
    "stanchion_admin_secret": "SECRET",
    "__riak_cs_credentials": {"access_key": "KEY", "secret_key": "SECRET"},
}


class Rendered:
    """The templates of the three roles and their variables, for one pair of versions, by Ansible's own engine."""

    def __init__(self, riak: str, riak_cs: str) -> None:
        loader = DataLoader()
        variables: dict[str, Any] = {}
        for role in ("riak", "riak_cs", "stanchion"):
            for part in ("defaults", "vars"):
                path = str(ROOT / f"roles/{role}/{part}/main.yml")
                variables |= loader.load_from_file(path, trusted_as_template=True)
        versions = {"riak_version": riak, "riak_cs_version": riak_cs, "stanchion_version": riak_cs}
        code = {"riak_add_paths": [f"/usr/lib/riak-cs/lib/riak_cs-{riak_cs}/ebin"]}
        self.variables = variables | COMMON | versions | code
        self._templar = Templar(loader=loader, variables=self.variables)

    def value(self, name: str) -> Any:
        return self._templar.template(trust_as_template("{{ " + name + " }}"))

    def text(self, role: str, name: str) -> str:
        source = (ROOT / f"roles/{role}/templates/{name}.j2").read_text()
        return str(self._templar.template(trust_as_template(source)))

    def lines(self, role: str, name: str) -> list[str]:
        """Without comments."""
        lines = self.text(role, name).splitlines()
        return [line for line in lines if line.strip() and not line.startswith(("#", "%"))]

    def keys(self, role: str, name: str) -> set[str]:
        return {line.split(" = ")[0] for line in self.lines(role, name)}


@pytest.fixture(scope="module")
def rendered() -> dict[tuple[str, str], Rendered]:
    return {(riak, riak_cs): Rendered(RIAK[riak], RIAK_CS[riak_cs]) for riak, riak_cs in PAIRS}


AllPairs = dict[tuple[str, str], Rendered]
every_pair = pytest.mark.parametrize("pair", PAIRS, ids=[f"kv{a}-cs{b}" for a, b in PAIRS])


@every_pair
def test_the_commands(rendered: AllPairs, pair: tuple[str, str]) -> None:
    riak, riak_cs = pair
    found = rendered[pair]
    assert found.value("__riak_admin") == (["riak-admin"] if riak == "2.9" else ["riak", "admin"])
    admin = ["riak-cs-admin"] if riak_cs == "2.1" else ["riak-cs", "admin"]
    assert found.value("__riak_cs_admin") == admin
    assert (found.value("__riak_service"), found.value("__riak_cs_service")) == ("riak", "riak-cs")
    assert f'"$left" {" ".join(admin)} gc "$word"' in found.text("riak_cs", "gc-command")


@every_pair
def test_the_backends_have_one_form_and_no_phantom(rendered: AllPairs, pair: tuple[str, str]) -> None:
    conf = rendered[pair].lines("riak", "riak.conf")
    assert "storage_backend = prefix_multi" in conf
    assert "multi_backend.default = be_default" in conf
    assert "buckets.default.allow_mult = true" in conf
    assert "buckets.default.merge_strategy = 2" in conf
    names = {line.split(".")[1] for line in conf if line.startswith("multi_backend.be") or ".name." in line}
    assert names == {"be_default", "be_blocks", "be_cache"}
    assert not any(line.startswith("cs_version") for line in conf)
    advanced = rendered[pair].text("riak", "advanced.config")
    assert re.search(r'\{<<"0b:">>,\s*<<"be_blocks">>\}', advanced)
    assert f"riak_cs-{RIAK_CS[pair[1]]}/ebin" in advanced


@every_pair
def test_logs_are_written_by_the_keys_of_the_series(rendered: AllPairs, pair: tuple[str, str]) -> None:
    for role, name, new in (
        ("riak", "riak.conf", pair[0] == "3.2"),
        ("riak_cs", "riak-cs.conf", pair[1] in ("3.1", "3.2")),
    ):
        keys = rendered[pair].keys(role, name)
        assert ("logger.level" in keys, "log.console.level" in keys) == (new, not new)


@every_pair
def test_stanchion_is_merged_from_3_1_on_and_a_process_of_its_own_before(
    rendered: AllPairs, pair: tuple[str, str]
) -> None:
    found, merged = rendered[pair], pair[1] in ("3.1", "3.2")
    keys = found.keys("riak_cs", "riak-cs.conf")
    inside = {"stanchion_hosting_mode", "stanchion_port", "stanchion_subnet", "stanchion_netmask"}
    assert found.value("__riak_cs_facts.stanchion") == ("merged" if merged else "separate")
    assert inside & keys == (inside if merged else set())
    assert ("stanchion_host" in keys) is not merged
    assert found.value("__stanchion_series in __stanchion_versions") is not merged
    if not merged:
        own = found.lines("stanchion", "stanchion.conf")
        assert "listener = 10.0.0.1:8085" in own
        assert "stanchion_host = 10.0.0.1:8085" in found.lines("riak_cs", "riak-cs.conf")
        assert "admin.secret = SECRET" not in own
        lines = found.lines("stanchion", "drop-in.conf")
        assert f"ExecStart=/usr/sbin/stanchion {'start' if pair[1] == '2.1' else 'foreground'}" in lines


@every_pair
def test_keys_that_came_or_went(rendered: AllPairs, pair: tuple[str, str]) -> None:
    keys = rendered[pair].keys("riak_cs", "riak-cs.conf")
    assert ("s3_root_host" in keys, "root_host" in keys) == (pair[1] == "3.2", pair[1] != "3.2")
    assert ("auth_v4" in keys) is (pair[1] != "2.1")
    assert "admin.secret" not in keys
    # What has no key in 2.1 stands in advanced.config.
    advanced = rendered[pair].text("riak_cs", "advanced.config")
    assert ("{auth_v4_enabled, true}" in advanced) is (pair[1] == "2.1")


@every_pair
def test_the_distribution_listens_on_the_internal_address(rendered: AllPairs, pair: tuple[str, str]) -> None:
    for role in ("riak", "riak_cs"):
        assert "{inet_dist_use_interface, {10,0,0,1}}" in rendered[pair].text(role, "advanced.config")
        assert "Environment=ERL_EPMD_ADDRESS=10.0.0.1" in rendered[pair].lines(role, "drop-in.conf")


@every_pair
def test_the_admin_is_made_without_opening_the_door(rendered: AllPairs, pair: tuple[str, str]) -> None:
    words = rendered[pair].value("__riak_cs_admin_commands[__riak_cs_admin_form]")
    if pair[1] == "3.2":
        assert words == ["riak-cs", "admin", "create-admin-user"]
    elif pair[1] == "2.1":
        assert "nodetool" in words[2]
        assert "riak_cs_user create_user" in words[2]
    else:
        assert words[:6] == ["runuser", "-u", "riak_cs", "--", "riak-cs", "eval"]
        assert as_split_by_the_command(words[6:]) == words[6:]
    assert "anonymous_user_creation = off" in rendered[pair].lines("riak_cs", "riak-cs.conf")


def as_split_by_the_command(words: list[str]) -> list[str]:
    """What comes through a script that passes on `$*`, as those of the packages do for their own user."""
    script = 'for word in $*; do printf "%s\\0" "$word"; done'
    said = subprocess.run(["bash", "-c", script, "riak", *words], check=True, capture_output=True, text=True).stdout
    return said.split("\0")[:-1]


def test_properties_of_bucket_types_come_through_the_command() -> None:
    """And nobody but Riak's own user gives them: for root, some releases have a shell read them again."""
    types = variables("roles/riak/defaults/main.yml")["riak_bucket_types"]
    words = [
        json.dumps({"props": props | {"n_val": 3}}, sort_keys=True, separators=(",", ":")) for props in types.values()
    ]
    assert as_split_by_the_command(words) == words
    tasks = yaml.safe_load((ROOT / "roles/riak/tasks/buckets.yml").read_text())
    (command,) = [task["riak_bucket_type"]["command"] for task in tasks if "riak_bucket_type" in task]
    assert command == "{{ ['runuser', '-u', __riak_user, '--'] + __riak_admin }}"


STOCK_UNITS = {
    "riak": "[Unit]\nDescription=Riak\n[Service]\nUser=riak\nType=simple\nExecStart=/usr/sbin/riak start\n"
    "ExecStop=/usr/sbin/riak stop\nPIDFile=/run/riak/riak.pid\nRuntimeDirectory=riak\nLimitNOFILE=524288\n",
    "riak_cs": "[Unit]\nDescription=Riak CS\n[Service]\nUser=riak_cs\nType=simple\nExecStart=/usr/sbin/riak-cs start\n"
    "ExecStop=/usr/sbin/riak-cs stop\nPIDFile=/run/riak-cs/riak-cs.pid\nRuntimeDirectory=riak-cs\n",
}
"""What the drop-ins come upon, in the form of config.md."""


def in_force(unit: str, lines: list[str]) -> dict[str, list[str]]:
    """Values of the service by key, as systemd adds a drop-in to a unit: an empty one forgets those before it."""
    values: dict[str, list[str]] = {}
    for line in [*unit.splitlines(), *lines]:
        key, _, value = line.partition("=")
        if key in ("ExecStart", "ExecStop", "PIDFile", "ReadWritePaths", "Environment", "ExecStartPre") and value:
            values.setdefault(key, []).append(value)
        else:
            values[key] = [value] if value else []
    return values


@every_pair
def test_nothing_runs_forked_under_type_simple(rendered: AllPairs, pair: tuple[str, str]) -> None:
    """One command, one way to end it: by SIGTERM in the foreground, or by the command of a series that only forks."""
    for role, command, old in (("riak", "riak", pair[0] == "2.9"), ("riak_cs", "riak-cs", pair[1] == "2.1")):
        service = in_force(STOCK_UNITS[role], rendered[pair].lines(role, "drop-in.conf"))
        assert service["LimitNOFILE"] == ["524288"]
        assert service["RuntimeDirectory"] == [command]
        assert service["ExecStart"] == [f"/usr/sbin/{command} {'start' if old else 'foreground'}"]
        assert service["ExecStop"] == ([f"/usr/sbin/{command} stop"] if old else [])
        assert service["Type"] == (["forking"] if old else ["simple"])
        assert (service["PIDFile"] != []) is old


@pytest.mark.parametrize("home", ["/var/lib/riak", "/home/riak"])
def test_a_node_can_write_what_is_its_own(home: str) -> None:
    found = Rendered("3.2.3", "3.2.4")
    found.variables |= {"riak_data_dir": home, "riak_log_dir": f"{home}/log", "riak_cs_log_dir": f"{home}/cs"}
    for role in ("riak", "riak_cs"):
        service = in_force(STOCK_UNITS[role], found.lines(role, "drop-in.conf"))
        paths = " ".join(service["ReadWritePaths"]).split()
        own = {"riak": {"/usr/lib/riak", "/etc/riak", home, f"{home}/log"},
               "riak_cs": {"/usr/lib/riak-cs", "/etc/riak-cs", "/var/lib/riak-cs", f"{home}/cs"}}[role]  # fmt: skip
        assert {path.removeprefix("-") for path in paths} == own
        assert all(path.startswith("-") for path in paths), "what is not there yet must not keep it from starting"
        assert service["ProtectHome"] == (["no"] if home.startswith("/home") else ["yes"])
        # The emulator compiles to machine code: "[jit:ns]" in the recordings.
        assert not {"MemoryDenyWriteExecute", "SystemCallFilter", "PrivateTmp"} & service.keys()


@every_pair
def test_systemd_understands_the_drop_ins(rendered: AllPairs, pair: tuple[str, str], tmp_path: Path) -> None:
    for role, command in (("riak", "riak"), ("riak_cs", "riak-cs")):
        units = tmp_path / role
        drop_in = units / f"{command}.service.d/50-millrace.conf"
        drop_in.parent.mkdir(parents=True)
        program = tmp_path / f"program-{role}"
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
        programs = re.compile(r"/usr/(?:sbin/riak(?:-cs)?|local/lib/millrace/\S+)")
        (units / f"{command}.service").write_text(programs.sub(str(program), STOCK_UNITS[role]))
        drop_in.write_text(programs.sub(str(program), rendered[pair].text(role, "drop-in.conf")))
        environment = {"SYSTEMD_UNIT_PATH": f"{units}:", "PATH": "/usr/bin:/bin", "SYSTEMD_LOG_LEVEL": "warning"}
        said = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", f"{command}.service"],
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert [line for line in (said.stdout + said.stderr).splitlines() if "millrace.conf" in line] == []
        assert said.returncode == 0, said.stderr


@pytest.mark.parametrize("member", ["n1", "n2", ""])
def test_garbage_is_collected_by_one_timer_or_by_none(member: str) -> None:
    found = Rendered("3.2.3", "3.2.4")
    found.variables["riak_cs_gc_member"] = member
    conf = found.lines("riak_cs", "riak-cs.conf")
    assert f"gc.interval = {'15m' if member == 'n1' else 'infinity'}" in conf
    assert "stats.storage.schedule.1 = 0300" in conf, "does not depend on who collects garbage"


@pytest.mark.parametrize(("version", "has_it"), [("2.1.0", True), ("2.1.1", False), ("2.1.2", False)])
def test_the_admins_secret_is_in_a_file_only_where_it_has_to_be(version: str, has_it: bool) -> None:
    found = Rendered("2.9.10", version)
    assert ("admin.secret = SECRET" in found.lines("riak_cs", "riak-cs.conf")) is has_it
    assert ("admin.secret = SECRET" in found.lines("stanchion", "stanchion.conf")) is has_it


def test_there_are_never_two_stanchions_in_an_upgrade() -> None:
    plays = yaml.safe_load((ROOT / "playbooks/upgrade.yml").read_text())
    names = [play.get("name") for play in plays]
    assert names.index("Stanchion goes first, or for good") == names.index("Upgrade node by node") - 1
    upgrade, retire = plays[names.index("Stanchion goes first, or for good")]["tasks"]
    assert upgrade["when"] == "riak_cs_version is version('3.1', '<')"
    assert (retire["ansible.builtin.include_role"]["tasks_from"], retire["when"]) == (
        "retire", "riak_cs_version is version('3.1', '>=')",
    )  # fmt: skip


def test_all_maps_know_the_same_series() -> None:
    """Roles do not read each other; this holds them together."""
    riak = set(variables("roles/riak/vars/main.yml")["__riak_versions"])
    riak_cs_map = variables("roles/riak_cs/vars/main.yml")["__riak_cs_versions"]
    stanchion = set(variables("roles/stanchion/vars/main.yml")["__stanchion_versions"])
    pairs = variables("roles/preflight/defaults/main.yml")["preflight_riak_cs_by_riak"]
    bridge = variables("playbooks/group_vars/all/preflight.yml")
    assert riak == set(RIAK) == set(pairs) == set(bridge["__riak_packages"][0]["series"])
    assert set(riak_cs_map) == set(RIAK_CS) == {cs for taken in pairs.values() for cs in taken}
    assert set(riak_cs_map) == set(bridge["__riak_cs_packages"][0]["series"])
    assert stanchion == {series for series, facts in riak_cs_map.items() if facts["stanchion"] == "separate"}


def test_every_pair_can_be_reached_by_steps_that_are_allowed() -> None:
    """From the oldest pair to the newest, changing at each step what upgrade_from allows, over pairs that fit."""
    riak = variables("roles/riak/vars/main.yml")["__riak_versions"]
    riak_cs = variables("roles/riak_cs/vars/main.yml")["__riak_cs_versions"]
    pairs = variables("roles/preflight/defaults/main.yml")["preflight_riak_cs_by_riak"]
    fitting = {(one, other) for one, taken in pairs.items() for other in taken}
    reached, edge = {("2.9", "2.1")}, [("2.9", "2.1")]
    while edge:
        here = edge.pop()
        for there in fitting - reached:
            if here[0] in riak[there[0]]["upgrade_from"] and here[1] in riak_cs[there[1]]["upgrade_from"]:
                reached.add(there)
                edge.append(there)
    assert reached == fitting


def test_stanchion_comes_before_riak_cs_and_gets_the_admins_key_after() -> None:
    """Before 3.1 both must have one admin; Stanchion is needed to make it, and is told afterwards."""
    plays = yaml.safe_load((ROOT / "playbooks/site.yml").read_text())
    order = [play["tags"][0] for play in plays if set(play.get("tags", [])) & {"stanchion", "riak_cs"}]
    assert order[:3] == ["stanchion", "riak_cs", "stanchion"]
    for play in plays:
        if play.get("tags") == ["stanchion"]:
            assert play["tasks"][0]["when"] == "riak_cs_version is version('3.1', '<')"
    bridge = variables("playbooks/group_vars/all/riak_cs.yml")
    assert "__stanchion_admin.access_key" in bridge["stanchion_admin_key"]
    assert "riak_cs_credentials_file" in bridge["__stanchion_admin"]


class TestGcCommand:
    """The script behind the socket, run as it is rendered, with a Riak CS that prints how it was called."""

    @pytest.fixture
    def ask(self, tmp_path: Path):
        (tmp_path / "riak-cs").write_text('#!/bin/sh\necho "riak-cs $*"; sleep "${RIAK_CS_TAKES:-0}"; echo done\n')
        (tmp_path / "riak-cs").chmod(0o755)
        script = tmp_path / "riak-cs-gc"
        script.write_text(Rendered("3.2.3", "3.2.4").text("riak_cs", "gc-command"))

        def run(line: str, takes: str = "0") -> subprocess.CompletedProcess[str]:
            environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "RIAK_CS_TAKES": takes}
            return subprocess.run(
                ["sh", script], input=line, env=environment, capture_output=True, text=True, timeout=60, check=False
            )

        return run

    @pytest.mark.parametrize("word", ["status", "batch", "pause"])
    def test_three_words_are_run(self, ask, word: str) -> None:
        done = ask(f"{word} {time.time() + 10:.0f}\n")
        assert (done.returncode, done.stdout) == (0, f"riak-cs admin gc {word}\ndone\n")

    @pytest.mark.parametrize(
        "line",
        [
            "resume {}\n",
            "set-interval {}\n",
            "status;id {}\n",
            "$(id) {}\n",
            "batch\n",
            "batch x{}\n",
            "batch {} 5\n",
            "batch -1\n",
            "\n",
            "",
            "status",
        ],
    )
    def test_nothing_else_is(self, ask, line: str) -> None:
        done = ask(line.format(int(time.time() + 10)))
        assert done.returncode != 0
        assert "riak-cs admin" not in done.stdout

    def test_what_is_asked_too_late_is_not_done(self, ask) -> None:
        done = ask(f"batch {time.time() - 1:.0f}\n")
        assert done.returncode == 1
        assert done.stdout == "riak-cs-gc was asked too late\n"

    def test_what_takes_too_long_is_ended(self, ask) -> None:
        began = time.monotonic()
        done = ask(f"batch {time.time() + 2:.0f}\n", takes="15")
        assert time.monotonic() - began < 14
        assert "done" not in done.stdout
