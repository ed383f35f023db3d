"""House rules of the roles, held over their files: one list of variables, no groups inside, files with an owner."""

import re
from pathlib import Path

import pytest
import yaml

from tests.kit.conftest import ROOT

ROLES = sorted(path for path in (ROOT / "roles").iterdir() if (path / "tasks").is_dir())
OWN = [role for role in ROLES if role.name in ("preflight", "riak", "riak_cs", "stanchion", "verify")]
GROUPS = ("riak", "riak_cs", "etcd", "haproxy", "controlplane", "monitoring")
RENDERING = ("ansible.builtin.template", "ansible.builtin.copy")


def read(path: Path):
    return yaml.safe_load(path.read_text()) if path.exists() else None


def tasks(role: Path):
    """Every task of a role, blocks unfolded, with the file it is in."""

    def unfold(items):
        for item in items or []:
            yield item
            for part in ("block", "rescue", "always"):
                yield from unfold(item.get(part))

    for path in sorted((role / "tasks").glob("*.yml")):
        for task in unfold(read(path)):
            yield path.name, task


def names(roles):
    return [role.name for role in roles]


@pytest.mark.parametrize("role", ROLES, ids=names(ROLES))
def test_argument_specs_and_defaults_name_the_same_keys(role):
    options = read(role / "meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    defaults = read(role / "defaults/main.yml") or {}
    assert {key for key in defaults if key not in options} == set()
    assert {key for key, option in options.items() if option.get("required") and key in defaults} == set()
    for key in defaults:
        assert key.startswith(f"{role.name}_"), f"{key} lacks the role's prefix"


@pytest.mark.parametrize("role", ROLES, ids=names(ROLES))
def test_every_variable_that_a_role_is_given_is_specified(role):
    """Under the entry point that takes it. Not those that it notes for others."""
    specs = read(role / "meta/argument_specs.yml")["argument_specs"].values()
    known = {key for spec in specs for key in spec.get("options") or {}}
    used, noted = set(), set()
    for _, task in tasks(role):
        noted |= (task.get("ansible.builtin.set_fact") or {}).keys()
    for folder in ("tasks", "templates", "vars", "defaults", "handlers"):
        for path in (role / folder).glob("*"):
            text = path.read_text()
            inside = re.findall(r"{[{%].*?[%}]}", text, re.DOTALL)
            if path.suffix == ".yml":
                inside += re.findall(r"(?m)^ *(?:when|that|until|changed_when|failed_when|- ): *(.*)$", text)
            for piece in inside:
                used |= set(re.findall(rf"(?<![\w.|-])(?<!\| ){role.name}_[a-z0-9_]+\b", re.sub(r"'[^']*'", "", piece)))
    assert len(used) > 3
    assert used - known - noted == set()


@pytest.mark.parametrize("role", OWN, ids=names(OWN))
def test_argument_specs_repeat_the_defaults(role):
    options = read(role / "meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    defaults = read(role / "defaults/main.yml")
    assert {key: option["default"] for key, option in options.items() if "default" in option} == defaults


@pytest.mark.parametrize("role", ROLES, ids=names(ROLES))
def test_what_an_operator_says_by_e_is_taken_as_yes_or_no(role):
    """`-e name=false` is the word "false": a condition refuses it, and an expression takes it for true."""
    specs = read(role / "meta/argument_specs.yml")["argument_specs"].values()
    options = {key: option for spec in specs for key, option in (spec.get("options") or {}).items()}
    words = "|".join(key for key, option in options.items() if option["type"] == "bool") or "(?!)"
    use = re.compile(rf"(?<!\w)({words})(?!\w|[ ]*\|[ ]*bool)")
    for path in [*(role / "tasks").glob("*.yml"), *(role / "vars").glob("*.yml")]:
        for text in expressions(read(path)):
            assert not use.search(text), f"{path.name}: {text}"
    for path in role.rglob("*.j2"):
        for text in re.findall(r"{[{%].*?[%}]}", path.read_text()):
            assert not use.search(text), f"{path.name}: {text}"


def expressions(node, key=""):
    """All conditions and templates; not those that hand a value over as it is: the module that gets it casts it."""
    if isinstance(node, dict):
        for name, value in node.items():
            yield from expressions(value, name)
    elif isinstance(node, list):
        for value in node:
            yield from expressions(value, key)
    elif isinstance(node, str) and key in ("when", "that", "until", "changed_when", "failed_when"):
        yield node
    elif isinstance(node, str) and not re.fullmatch(r"{{ \w+ }}", node):
        yield from re.findall(r"{[{%].*?[%}]}", node, re.DOTALL)


@pytest.mark.parametrize("word", ["false", "no"])
def test_no_by_e_is_no(tool, tmp_path, word):
    play = [
        {
            "hosts": "localhost",
            "gather_facts": False,
            "tasks": [
                {"ansible.builtin.include_role": {"name": "host", "tasks_from": "firewall", "public": True}},
                {"ansible.builtin.assert": {"that": ["'nftables' not in __host_packages"]}},
            ],
        }
    ]
    (tmp_path / "play.yml").write_text(yaml.safe_dump(play))
    command = ("ansible-playbook", "-i", "localhost,", "-c", "local", "-e", f"host_firewall_enabled={word}")
    run = tool(*command, tmp_path / "play.yml")
    assert run.returncode == 0, run.stdout + run.stderr
    assert re.search(r"changed=0 .*skipped=3", run.stdout), run.stdout


@pytest.mark.parametrize("role", ROLES, ids=names(ROLES))
def test_no_group_is_named_inside_a_role(role):
    for path in [*role.rglob("*.yml"), *role.rglob("*.j2")]:
        assert not re.search(r"groups\[|groups\.|group_names", path.read_text()), path


@pytest.mark.parametrize("role", OWN, ids=names(OWN))
def test_no_role_reads_another_roles_variables(role):
    others = [name for name in GROUPS if name != role.name and not role.name.startswith(f"{name}_")]
    keys = {key for name in others for key in read(ROOT / "roles" / name / "defaults/main.yml") or {}}
    own = set(read(role / "defaults/main.yml"))
    for path in [*(role / "tasks").glob("*.yml"), *(role / "templates").glob("*.j2"), *(role / "vars").glob("*.yml")]:
        words = set(re.findall(r"[a-z_]\w*", path.read_text()))
        assert words & (keys - own) == set(), path


@pytest.mark.parametrize("role", OWN, ids=names(OWN))
def test_every_template_says_that_it_is_managed(role):
    for path in (role / "templates").glob("*.j2"):
        text = path.read_text()
        assert "ansible_managed" in text, path


@pytest.mark.parametrize("role", OWN, ids=names(OWN))
def test_every_rendered_file_has_a_quoted_mode_and_tells_somebody(role):
    for file, task in tasks(role):
        for module in RENDERING:
            if module in task:
                assert isinstance(task[module].get("mode"), str), f"{file}: {task['name']}"
                if module == "ansible.builtin.template":
                    assert task.get("notify"), f"{file}: {task['name']}"
                    units = task["notify"] == "Restart the socket of the garbage collection" and "loop" in task
                    if not units and not task[module]["dest"].endswith("millrace.conf"):  # no checker of units
                        assert task[module].get("validate"), f"{file}: {task['name']}"


@pytest.mark.parametrize("role", OWN, ids=names(OWN))
def test_secrets_are_not_printed(role):
    for file, task in tasks(role):
        if re.search(r"secret_key", str({key: value for key, value in task.items() if key not in ("name", "vars")})):
            quiet = task.get("no_log") or "s3_round_trip" in task or "riak_cs_admin_user" in task
            assert quiet or "block" in task, f"{file}: {task['name']}"


SECRET = re.compile(r"cookie|secret|password|\.key\b")
"""In what a template renders, or in the source of a copy."""


@pytest.mark.parametrize("role", ROLES, ids=names(ROLES))
def test_no_diff_shows_a_secret(role):
    """`--diff` prints files line by line, with the cookie and private keys in them."""
    for file, task in tasks(role):
        if (template := task.get("ansible.builtin.template")) and "{" not in template["src"]:
            carried = "\n".join(re.findall(r"{{.*?}}", (role / "templates" / template["src"]).read_text()))
        elif copy := task.get("ansible.builtin.copy"):
            carried = f"{copy.get('content', '')} {copy.get('src', '')} {task.get('loop', '')}"
        else:
            continue
        if SECRET.search(carried):
            assert task.get("no_log") or task.get("diff") is False, f"{file}: {task['name']}"


def test_the_search_for_secrets_finds_those_that_are_there():
    found = {
        f"{role.name}/{task['ansible.builtin.template']['src']}"
        for role in ROLES
        for _, task in tasks(role)
        if "ansible.builtin.template" in task and task.get("diff") is False
    }
    assert found == {"riak/riak.conf.j2", "riak_cs/riak-cs.conf.j2", "stanchion/stanchion.conf.j2"}


def test_every_version_says_what_it_may_come_from():
    for role, variable in (("riak", "__riak_versions"), ("riak_cs", "__riak_cs_versions")):
        versions = read(ROOT / "roles" / role / "vars/main.yml")[variable]
        keys = [set(facts) for facts in versions.values()]
        assert all(one == keys[0] for one in keys)
        order = list(versions)
        for series, facts in versions.items():
            assert series in facts["upgrade_from"]
            assert all(order.index(older) <= order.index(series) for older in facts["upgrade_from"])


PLAYBOOKS = sorted((ROOT / "playbooks").glob("*.yml"))


@pytest.mark.parametrize("path", PLAYBOOKS, ids=[path.stem for path in PLAYBOOKS])
def test_playbooks_are_short(path):
    assert len(path.read_text().splitlines()) <= 130


@pytest.mark.parametrize("path", PLAYBOOKS, ids=[path.stem for path in PLAYBOOKS])
def test_a_play_that_restarts_nodes_takes_one_at_a_time_between_gates(path):
    for play in read(path):
        text = str(play)
        if "restart_node.yml" in text or "upgrade_node.yml" in text or "restart_stale.yml" in text:
            assert play["serial"] == 1
            # A batch of one that fails ends the run. With any_errors_fatal, Ansible counts an unreachable host twice,
            # which is not its batch's size, and goes on with the next node.
            assert "any_errors_fatal" not in play
    if path.stem == "rolling_restart":
        order = [task["ansible.builtin.import_tasks"] for task in read(path)[-1]["tasks"]]
        assert order == ["tasks/gate_before.yml", "tasks/restart_node.yml", "tasks/gate_after.yml"]
