"""verify.yml names what is wrong and where, and says nothing of a sound cluster."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.kit.conftest import load

plugin = load("roles/verify/filter_plugins/verify_findings.py")
Seen = dict[str, dict[str, Any]]


def said(**found: Any) -> dict[str, Any]:
    return {"rc": 0, "stdout": json.dumps(found), "stderr": ""}


def ready(**errors: str) -> dict[str, Any]:
    checks = {name: {"ok": True, "needed": True, "error": None} for name in ("primary", "journal", "persistent")}
    for name, error in errors.items():
        checks[name] = {"ok": False, "needed": name != "persistent", "error": error}
    return {"status": 200, "json": {"checks": checks}}


URLS = {name: f"http://10.0.0.{name[1]}:8470" for name in ("n1", "n2")}
WANTED: dict[str, Any] = {
    "riak": ["n1", "n2", "n3"],
    "riak_cs": ["n1", "n2", "n3"],
    "gateways": ["n1", "n2"],
    "s3": True,
    "directory": True,
    "mirror": True,
    "mirror_max_age_s": 900,
    "gc_agents": ["n1", "n2"],
    "gc_member": "",
    "endpoint_urls": URLS,
}


def sound() -> Seen:
    gateway = {
        "ready": {"gateway": ready(), "agent": ready()},
        "said": {
            "mirror": said(pending=3, failed=0, oldest_age_s=1.5),
            "endpoints": said(endpoints=[{"node": name, "url": url} for name, url in URLS.items()]),
            "gc": said(holder="n2"),
        },
        "answers": {url: {"status": 401} for url in URLS.values()},
    }
    gc = {"answers": True, "collecting": False, "scheduled": False, "said": ""}
    seen: Seen = {name: {"blocks": {"be_default": 0, "be_blocks": 1}, "gc": dict(gc)} for name in ("n1", "n2", "n3")}
    for name in URLS:
        seen[name]["gateway"] = copy.deepcopy(gateway)
        seen[name]["s3"] = {"passed": True, "said": ""}
    seen["n2"]["gc"]["collecting"] = True
    return seen


def spoilt(*path: str, to: Any) -> Callable[[Seen], None]:
    def spoil(seen: Seen) -> None:
        place: Any = seen
        for step in path[:-1]:
            place = place[step]
        if to is None:
            del place[path[-1]]
        else:
            place[path[-1]] = to

    return spoil


def test_a_sound_cluster_has_no_findings() -> None:
    assert plugin.verify_findings(sound(), WANTED) == []


ONE_PUBLISHED = said(endpoints=[{"node": "n1", "url": URLS["n1"]}])
STRANGER = said(endpoints=[{"node": name, "url": url} for name, url in {**URLS, "n9": "http://old:8470"}.items()])
MOVED = said(endpoints=[{"node": "n1", "url": URLS["n1"]}, {"node": "n2", "url": "http://10.0.0.9:8470"}])
FAILED = {"rc": 4, "stdout": "", "stderr": "millrace: etcd is away"}


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (spoilt("n2", "blocks", "be_default", to=2), "n2: blocks land in be_default (2 files), not in be_blocks"),
        (spoilt("n3", "blocks", to=None), "n3: was not looked at, so nothing is known of where its blocks land"),
        (spoilt("n3", "gc", to=None), "n3: was not looked at, so nothing is known of its garbage collection"),
        (spoilt("n3", "gc", "answers", to=False), "n3: Riak CS does not tell of its garbage collection"),
        (spoilt("n3", "gc", "scheduled", to=True), "n3: the timer of its own garbage collection is on"),
        (spoilt("n3", "gc", "collecting", to=True), "n3: collects garbage, and the duty is n2's"),
        (spoilt("n1", "gateway", "said", "gc", to=FAILED), "n1: `millrace gc status` failed (millrace: etcd is away)"),
        (spoilt("n1", "gateway", "said", "gc", to=said(holder="n1")), "n1 and n2 have the duty"),
        (
            spoilt("n2", "gateway", "ready", "agent", to={"status": -1, "msg": "refused"}),
            "n2: the agent does not answer",
        ),
        (
            spoilt("n2", "gateway", "ready", "gateway", to=ready(primary="Riak CS is away")),
            "n2: the gateway is not ready: primary: Riak CS is away",
        ),
        (
            spoilt("n1", "gateway", "ready", "agent", to=ready(persistent="no route")),
            "n1: the agent goes on, but not well: persistent: no route",
        ),
        (
            spoilt("n1", "gateway", "said", "mirror", to=said(pending=9, failed=2, oldest_age_s=None)),
            "n1: the mirror gave up 2 copies",
        ),
        (
            spoilt("n1", "gateway", "said", "mirror", to=said(pending=9, failed=0, oldest_age_s=901)),
            "n1: 9 copies are pending, the oldest for 901 s (at most 900)",
        ),
        (
            spoilt("n2", "s3", to={"passed": False, "said": "PUT /b/k: HTTP 503"}),
            "n2: an object did not pass through the S3 of its gateway (PUT /b/k: HTTP 503)",
        ),
        (spoilt("n2", "s3", to=None), "n2: no object was sent through the S3 of its gateway"),
        (spoilt("n1", "gateway", "said", "mirror", to=FAILED), "n1: `millrace mirror status` failed"),
        (spoilt("n1", "gateway", "said", "endpoints", to=ONE_PUBLISHED), "n2: its gateway is not published in etcd"),
        (spoilt("n1", "gateway", "said", "endpoints", to=STRANGER), "n9: is published as http://old:8470"),
        (
            spoilt("n1", "gateway", "said", "endpoints", to=MOVED),
            "n2: is published as http://10.0.0.9:8470, and should",
        ),
        (spoilt("n1", "gateway", "said", "endpoints", to=FAILED), "n1: cannot read etcd (millrace: etcd is away)"),
        (
            spoilt("n1", "gateway", "answers", URLS["n2"], to={"status": -1, "msg": "timed out"}),
            f"n1: {URLS['n2']} is published and does not serve (timed out)",
        ),
    ],
)
def test_one_thing_wrong_is_one_finding_that_names_the_host(spoil: Callable[[Seen], None], words: str) -> None:
    seen = sound()
    spoil(seen)
    (found,) = plugin.verify_findings(seen, WANTED)
    assert words in found
    assert found.startswith("n")


def test_nobody_has_the_duty() -> None:
    seen = sound()
    seen["n2"]["gc"]["collecting"] = False
    for name in URLS:
        seen[name]["gateway"]["said"]["gc"] = said(holder=None)
    (found,) = plugin.verify_findings(seen, WANTED)
    assert found.startswith("n1, n2: nobody has the duty of garbage collection")


def test_no_block_anywhere_is_said_of_all() -> None:
    seen = sound()
    for name in seen:
        seen[name]["blocks"]["be_blocks"] = 0
    (found,) = plugin.verify_findings(seen, WANTED)
    assert found.startswith("n1, n2, n3: no block of a new object lies in be_blocks")


def test_a_gateway_that_was_not_reached_is_named() -> None:
    seen = sound()
    del seen["n2"]["gateway"]
    found = plugin.verify_findings(seen, WANTED)
    assert "n2: was not looked at, so nothing is known of its gateway: run it again" in found


def test_without_agents_the_timer_of_exactly_one_member_is_on() -> None:
    wanted = WANTED | {"gc_agents": [], "gc_member": "n1"}
    seen = sound()
    seen["n2"]["gc"]["collecting"] = False
    assert "n1: garbage is collected nowhere" in plugin.verify_findings(seen, wanted)[0]
    seen["n1"]["gc"]["scheduled"] = True
    assert plugin.verify_findings(seen, wanted) == []
    seen["n3"]["gc"]["scheduled"] = True
    (found,) = plugin.verify_findings(seen, wanted)
    assert found.startswith("n3: collects garbage beside n1")


def test_a_cluster_without_gateways_and_etcd_is_judged_by_what_it_has() -> None:
    wanted = WANTED | {"gateways": [], "directory": False, "mirror": False, "gc_agents": [], "gc_member": "n1"}
    seen = {name: {part: facts[part] for part in ("blocks", "gc")} for name, facts in sound().items()}
    seen["n1"]["gc"]["scheduled"], seen["n2"]["gc"]["collecting"] = True, False
    assert plugin.verify_findings(seen, wanted) == []


def test_facts_are_taken_of_hosts_that_have_noted_them() -> None:
    hostvars = {"a": {"riak_blocks": {"be_blocks": 1}, "other": 1}, "b": {}}
    assert plugin.seen_of(hostvars, ["a", "b"]) == {"a": {"blocks": {"be_blocks": 1}}, "b": {}}
