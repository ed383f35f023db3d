#!/usr/bin/env python3
"""Everything that is wrong with a running cluster, as sentences: pure decisions over what its hosts have said.

`seen` maps a host to {"blocks": files by backend, "gc": riak_cs_gc_state, "gateway": verify_gateway, "s3":
riak_cs_s3_probe}, without what was not asked or not answered; `wanted` holds the variables of the role.
"""

from __future__ import annotations

import json

FACTS = {"blocks": "riak_blocks", "gc": "riak_cs_gc_state", "gateway": "verify_gateway", "s3": "riak_cs_s3_probe"}


def seen_of(hostvars, hosts):
    """What the plays have noted of each host. A host that was not reached has noted nothing."""
    return {
        host: {part: hostvars[host][fact] for part, fact in FACTS.items() if fact in hostvars[host]} for host in hosts
    }


def document(said):
    """What a command printed with --json, or None."""
    try:
        found = json.loads(said.get("stdout") or "")
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def words(said):
    """What a command or a request has said instead, on one line."""
    text = said.get("stderr") or said.get("stdout") or said.get("msg") or f"exit code {said.get('rc', 'unknown')}"
    return " ".join(str(text).split())[:300]


def blocks(seen, wanted):
    """A marked object was written through Riak CS a moment ago."""
    counts = {host: seen[host]["blocks"] for host in wanted["riak"] if "blocks" in seen.get(host, {})}
    for host in wanted["riak"]:
        if host not in counts:
            yield f"{host}: was not looked at, so nothing is known of where its blocks land: run it again"
    for host, found in counts.items():
        for backend, count in found.items():
            if backend != "be_blocks" and int(count):
                yield (
                    f"{host}: blocks land in {backend} ({count} files), not in be_blocks: compare riak.conf and "
                    "advanced.config there with what the role renders"
                )
    if counts and not any(int(found.get("be_blocks", 0)) for found in counts.values()):
        yield f"{', '.join(counts)}: no block of a new object lies in be_blocks: look at multi_backend_prefix_list"


def collection(seen, wanted):
    """One member collects garbage: by the agents' lease, or by its own timer."""
    states = {host: seen.get(host, {}).get("gc") for host in wanted["riak_cs"]}
    for host, state in states.items():
        if state is None:
            yield f"{host}: was not looked at, so nothing is known of its garbage collection: run it again"
        elif not state["answers"]:
            said = " ".join(str(state["said"]).split()) or "nothing"
            yield f"{host}: Riak CS does not tell of its garbage collection (it said {said}): look at riak-cs.service"
    known = {host: state for host, state in states.items() if state and state["answers"]}
    if wanted["gc_agents"]:
        yield from duty(seen, wanted, known)
        return
    member = wanted["gc_member"]
    if member in known and not known[member]["scheduled"]:
        yield f"{member}: garbage is collected nowhere, since its timer is off: run site.yml --tags riak_cs"
    for host, state in known.items():
        if host != member and (state["scheduled"] or state["collecting"]):
            yield f"{host}: collects garbage beside {member}: run `riak-cs admin gc pause` there, then site.yml"


def duty(seen, wanted, known):
    holders = {}
    for host in wanted["gc_agents"]:
        said = seen.get(host, {}).get("gateway", {}).get("said", {}).get("gc", {})
        found = document(said)
        if found is None:
            yield f"{host}: `millrace gc status` failed ({words(said)}): look at millrace-agent and etcd"
        else:
            holders[host] = found["holder"]
    names = sorted({holder for holder in holders.values() if holder})
    if holders and not names:
        yield f"{', '.join(holders)}: nobody has the duty of garbage collection: look at the logs of millrace-agent"
    if len(names) > 1:
        yield f"{', '.join(holders)}: {' and '.join(names)} have the duty of garbage collection: look at etcd"
    for host, state in known.items():
        if state["scheduled"]:
            yield f"{host}: the timer of its own garbage collection is on: run `riak-cs admin gc pause` there"
        elif state["collecting"] and names and host not in names:
            yield f"{host}: collects garbage, and the duty is {names[0]}'s: run `riak-cs admin gc pause` there"


def gateways(seen, wanted):
    for host in wanted["gateways"]:
        gateway = seen.get(host, {}).get("gateway")
        if gateway is None:
            yield f"{host}: was not looked at, so nothing is known of its gateway: run it again"
            continue
        for part, answer in gateway["ready"].items():
            yield from readiness(host, part, answer)
        if wanted["mirror"]:
            yield from mirror(host, gateway["said"]["mirror"], float(wanted["mirror_max_age_s"]))
        if wanted["s3"]:
            yield from s3(host, seen[host].get("s3"))


def readiness(host, part, answer):
    status, found = answer.get("status"), answer.get("json") or {}
    if status not in (200, 503):
        yield f"{host}: the {part} does not answer ({words(answer)}): look at millrace-{part}.service"
        return
    for check, state in found.get("checks", {}).items():
        if not state["ok"]:
            weight = "is not ready" if state["needed"] else "goes on, but not well"
            yield f"{host}: the {part} {weight}: {check}: {state['error']}"


def s3(host, probe):
    if probe is None:
        yield f"{host}: no object was sent through the S3 of its gateway, so nothing is known of it: run it again"
    elif not probe["passed"]:
        yield f"{host}: an object did not pass through the S3 of its gateway ({probe['said']}): `millrace doctor` there"


def mirror(host, said, most_s):
    found = document(said)
    if found is None:
        yield f"{host}: `millrace mirror status` failed ({words(said)}): look at millrace-agent.service"
        return
    if found["failed"]:
        yield f"{host}: the mirror gave up {found['failed']} copies: see `millrace mirror failed`, then `mirror retry`"
    age = found["oldest_age_s"]
    if age is not None and age > most_s:
        yield (
            f"{host}: {found['pending']} copies are pending, the oldest for {age:.0f} s (at most {most_s:.0f}): look "
            "at the persistent store and millrace-agent.service"
        )


def endpoints(seen, wanted):
    """Every gateway of the inventory is in etcd with its URL, no other is, and each that is there serves."""
    if not wanted["directory"] or not wanted["gateways"]:
        return
    asked = {host: seen[host]["gateway"] for host in wanted["gateways"] if "gateway" in seen.get(host, {})}
    lists = {host: document(gateway["said"]["endpoints"]) for host, gateway in asked.items()}
    for host, found in lists.items():
        if found is None:
            yield f"{host}: cannot read etcd ({words(asked[host]['said']['endpoints'])}): look at etcd and its password"
    found = next((found for found in lists.values() if found is not None), None)
    if found is None:
        return
    published = {endpoint["node"]: endpoint["url"] for endpoint in found["endpoints"]}
    for host in wanted["gateways"]:
        url = wanted["endpoint_urls"].get(host, "")
        if host not in published:
            yield f"{host}: its gateway is not published in etcd: `millrace doctor` there tells why"
        elif url and published[host] != url:
            yield f"{host}: is published as {published[host]}, and should be {url}: run site.yml --tags controlplane"
    for node in sorted(set(published) - set(wanted["gateways"])):
        yield f"{node}: is published as {published[node]}, and the inventory knows no such gateway: stop its agent"
    for host, gateway in asked.items():
        for url, answer in gateway["answers"].items():
            if answer.get("status") not in (401, 404):
                yield f"{host}: {url} is published and does not serve ({words(answer)}): look at its millrace-gateway"


def verify_findings(seen, wanted):
    return [
        *blocks(seen, wanted),
        *collection(seen, wanted),
        *gateways(seen, wanted),
        *endpoints(seen, wanted),
    ]


def verify_message(findings):
    return "\n".join([f"The cluster is not as it should be ({len(findings)}):", *(f"- {text}" for text in findings)])


class FilterModule:
    def filters(self):
        return {"verify_findings": verify_findings, "verify_message": verify_message, "verify_seen": seen_of}
