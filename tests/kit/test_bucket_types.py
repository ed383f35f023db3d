"""riak_bucket_type makes bucket types by the recorded words, once: on a `riak admin` that speaks like the stand-in."""

from pathlib import Path

import pytest

from tests.hosts.standin.kv import admin_bucket_types
from tests.kit.conftest import ROOT, load
from tests.support.riak_kv import RiakNode, standin

types = load("roles/riak/library/riak_bucket_type.py")

RECORDED = """\
rec_c_set is active

young_vclock: 20
w: quorum
linkfun: {modfun,riak_kv_wm_link_walker,mapreduce_linkfun}
n_val: 3
last_write_wins: false
allow_mult: true
datatype: set
active: true
claimant: 'riak@127.0.0.1'
ok
"""


class Ended(Exception):
    """How the module ended: args are its outcome."""


class Module:
    """AnsibleModule as far as the module uses it."""

    def __init__(self, check_mode: bool, **params: object) -> None:
        self.check_mode = check_mode
        self.params = {"command": ["riak", "admin"], "attempts": 1, "delay": 0, "deadline": 9, **params}

    def exit_json(self, **outcome: object) -> None:
        raise Ended(outcome)

    def fail_json(self, **outcome: object) -> None:
        raise Ended({**outcome, "failed": True})


@pytest.fixture
def node(tmp_path: Path):
    with standin(tmp_path) as started:
        yield started


@pytest.fixture
def run(node: RiakNode, monkeypatch: pytest.MonkeyPatch):
    said: list[str] = []

    def say(self, *arguments: str) -> str:
        said.append(arguments[0])
        assert node.service is not None
        return admin_bucket_types.run(node.service.node, list(arguments))

    def outcome(name: str, properties: dict[str, object], *, check_mode: bool = False):
        said.clear()
        monkeypatch.setattr(types.Types, "say", say)
        monkeypatch.setattr(types, "AnsibleModule", lambda **_: Module(check_mode, name=name, properties=properties))
        with pytest.raises(Ended) as ended:
            types.main()
        return ended.value.args[0], list(said)

    return outcome


def test_the_recorded_words_are_read() -> None:
    state, shown = types.read_status(RECORDED, "rec_c_set")
    assert state == "active"
    assert types.differing({"allow_mult": True, "n_val": 3, "last_write_wins": False}, shown) == []
    assert types.differing({"allow_mult": False, "n_val": 2, "backend": "be_cache"}, shown) == [
        "allow_mult", "backend", "n_val",
    ]  # fmt: skip
    words = "nonsense is not an existing bucket type\n{error,undefined}\n"
    assert types.read_status(words, "nonsense") == ("missing", {})
    assert types.read_status("Node is not running!\n", "x")[0] == "unknown"
    assert types.differing({"backend": "be_cache"}, {"backend": '<<"be_cache">>'}) == []


def test_a_type_is_made_once(run, node: RiakNode) -> None:
    wanted = {"allow_mult": True, "n_val": 3}
    first, commands = run("fresh", wanted, check_mode=True)
    assert (first["changed"], commands) == (True, ["status"])
    first, commands = run("fresh", wanted)
    assert (first["changed"], commands) == (True, ["status", "create", "activate"])
    assert node.service is not None
    assert node.service.node.properties.exists("fresh")
    again, commands = run("fresh", wanted)
    assert (again["changed"], commands) == (False, ["status"])
    changed, commands = run("fresh", {**wanted, "allow_mult": False})
    assert (changed["changed"], commands) == (True, ["status", "update"])
    assert run("fresh", {**wanted, "allow_mult": False})[0]["changed"] is False


def test_one_that_was_created_and_not_activated_is_activated(run, node: RiakNode) -> None:
    assert node.service is not None
    node.service.node.properties.create_type("half", {"allow_mult": True})
    assert run("half", {"allow_mult": True}) == (
        {"changed": True, "said": "half has been activated\nok\n"},
        ["status", "activate"],
    )


def test_what_riak_refuses_fails_with_its_words(run) -> None:
    outcome, commands = run("hot", {"last_write_wins": True, "dvv_enabled": True})
    assert outcome["failed"]
    assert "dvv_enabled must be false" in outcome["msg"]
    assert commands == ["status", "create"]


def test_the_roles_defaults_are_what_the_control_plane_needs(run, node: RiakNode) -> None:
    """And what the contract suites run on."""
    import yaml

    from tests.support.real_riak_kv import CACHE_PROPERTIES
    from tests.support.riak_kv import CACHE_TYPE

    defaults = yaml.safe_load((ROOT / "roles/riak/defaults/main.yml").read_text())["riak_bucket_types"]
    assert defaults == {CACHE_TYPE: CACHE_PROPERTIES}
    for name, properties in defaults.items():
        assert run(f"{name}2", {"n_val": 3, **properties})[0]["changed"]
        assert not run(f"{name}2", {"n_val": 3, **properties})[0]["changed"]
