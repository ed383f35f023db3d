#!/usr/bin/python
"""Riak's cluster commands, judged by what they print: failures exit 0 (../shared/riakcs/cli/cluster-join.txt)."""

from __future__ import annotations

import re
import subprocess
import time

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: riak_cluster
short_description: Observe and change the membership of a Riak ring
description:
  - Runs C(riak admin) on the host and judges every command by its words, since failures exit 0.
  - Never repeats a change that the ring already shows.
  - Commits a plan only if each node in it was named in O(nodes), so nobody else's staged change slips in.
options:
  command: {description: The admin command with its fixed arguments., type: list, elements: str, required: true}
  action:
    description: What to do. V(status) looks once, V(wait) looks until the ring is settled; both change nothing.
    type: str
    default: status
    choices: [status, wait, join, leave, replace, force_replace, force_remove, down, commit, clear]
  node: {description: The node that the action is about., type: str, default: ""}
  other: {description: The node to join, or the node that takes the place of O(node)., type: str, default: ""}
  nodes: {description: The nodes that a plan may name., type: list, elements: str, default: []}
  absent: {description: Nodes that may be down (V(wait))., type: list, elements: str, default: []}
  gone: {description: Nodes that must have left (V(wait))., type: list, elements: str, default: []}
  present: {description: Nodes that must be members (V(wait))., type: list, elements: str, default: []}
  joining: {description: Nodes whose staged join is no obstacle (V(wait))., type: list, elements: str, default: []}
  spared: {description: The node that is about to be taken down (V(wait))., type: str, default: ""}
  enough: {description: Members besides O(spared) that must be up (V(wait))., type: int, default: 0}
  attempts: {description: How often a refusal that may pass is tried., type: int, default: 1}
  delay: {description: Seconds between two attempts., type: int, default: 5}
  down_patience: {description: Seconds after which a node that is down ends V(wait)., type: int, default: 30}
  deadline: {description: Seconds after which one command is ended., type: int, default: 60}
author: [Millrace]
"""

EXAMPLES = r"""
- name: Look at the ring
  riak_cluster:
    command: [riak, admin]
"""

RETURN = r"""
ring: {description: What the ring looks like from this host., type: dict, returned: always}
said: {description: The words of the command that changed something., type: str, returned: when changed}
"""

MEMBER = re.compile(r"^(valid|leaving|exiting|joining|down)\s+([\d.]+)%\s+(\S+)\s+'?([^'\s]+@[^'\s]+)'?\s*$")
NODE_NAME = re.compile(r"[\w.-]+@[\w.-]+")
MAY_PASS = (
    "try again",
    "is not reachable",
    "unable to get ring from",
    "until cluster state has converged",
    "plan has changed",
    "no answer within",
    "not responding to pings",
    "is the claimant",  # until the others have seen that it was marked as down
    "see log for details",  # a node that was too busy to answer another
)
STAGED = {
    "join": ("staged join request",),
    "leave": ("staged leave request", "already in the process of leaving"),
    "replace": ("staged replacement of",),
    "force_replace": ("staged forced replacement of",),
    "force_remove": ("staged remove request",),
    "down": ("marked as down",),
    "clear": ("Cleared staged cluster changes",),
}


def read_members(text):
    """The rows of `member-status`."""
    rows = (MEMBER.match(line.strip()) for line in text.splitlines())
    return [{"status": row[1], "ring": float(row[2]), "pending": row[3], "name": row[4]} for row in rows if row]


def read_ring(text):
    """Claimant, readiness, ownership changes and unreachable nodes of `ring-status`."""
    claimant = re.search(r"^Claimant:\s+'?([^'\s]+)'?", text, re.MULTILINE)
    unreachable = re.search(r"nodes are unreachable:\s*\[(.*?)\]", text, re.DOTALL)
    return {
        "claimant": claimant[1] if claimant else "",
        "ready": bool(re.search(r"^Ring Ready:\s+true", text, re.MULTILINE)),
        "changing": "No pending changes." not in text,
        "unreachable": NODE_NAME.findall(unreachable[1]) if unreachable else [],
    }


def read_transfers(text):
    """What `transfers` says is still to be moved, by node, and how much is moving."""
    waiting = re.findall(r"^'?([^'\s]+)'? waiting to handoff (\d+) partitions", text, re.MULTILINE)
    stopped = re.findall(r"^'?([^'\s]+)'? does not have (\d+) primary partitions running", text, re.MULTILINE)
    return {
        "waiting": {node: int(count) for node, count in waiting},
        "stopped": {node: int(count) for node, count in stopped},
        "active": len(re.findall(r"^vnode type:", text, re.MULTILINE)),
        "answered": "Active Transfers:" in text,
    }


def read_plan(text):
    """The staged changes of `cluster plan` as (action, names); None: no plan can be made now."""
    if "There are no staged changes" in text:
        return []
    if "Staged Changes" not in text:
        return None
    body = text.split("Staged Changes", 1)[1].split("NOTE:", 1)[0].split("####", 1)[0]
    rows = [re.match(r"^(join|leave|replace|force-replace|force-remove|resize-ring)\s+(.*)$", line.strip())
            for line in body.splitlines()]  # fmt: skip
    return [{"action": row[1], "names": NODE_NAME.findall(row[2])} for row in rows if row]


def too_few(members, ring, spared, enough):
    """Whether fewer than `enough` members serve once `spared` is down, in words."""
    left = [m["name"] for m in members if m["status"] == "valid" and m["name"] not in (spared, *ring["unreachable"])]
    if len(left) >= enough:
        return []
    return [f"only {len(left)} other nodes are up ({', '.join(left) or 'none'}), and {enough} must hold each object"]


def obstacles(members, ring, transfers, absent=(), joining=()):
    """Why no node may be taken down now, in words; empty: the ring is settled. Hints for `absent` nodes never end, and
    the staged joins of `joining` wait for the very plan that is to be made."""
    if not members:
        return ["Riak does not answer on this host"]
    found = []
    if not ring["ready"]:
        found.append("the ring is not ready")
    down = [node for node in ring["unreachable"] if node not in absent]
    if down:
        found.append(f"unreachable: {', '.join(down)}")
    staged = {m["name"] for m in members if m["status"] == "joining" and m["name"] in joining}
    odd = [
        m
        for m in members
        if (m["status"] != "valid" or m["pending"] != "--") and m["name"] not in absent and m["name"] not in staged
    ]
    if odd or (ring["changing"] and not absent):
        found.append(f"ownership is moving ({', '.join(m['name'] + ' is ' + m['status'] for m in odd) or 'pending'})")
    if not transfers["answered"]:
        found.append("the transfers are not known")
    if transfers["active"]:
        found.append(f"{transfers['active']} transfers are running")
    if not absent:
        found += [f"{node} waits to hand off {count} partitions" for node, count in transfers["waiting"].items()]
        found += [f"{node} lacks {count} partitions" for node, count in transfers["stopped"].items()]
    return found


def judge(members, ring, transfers, absent=(), joining=()):
    """The whole picture; `settled` means that nothing has to happen before a node may be taken down."""
    found = obstacles(members, ring, transfers, absent, joining)
    return {
        "up": bool(members),
        "members": members,
        "names": [member["name"] for member in members],
        "transfers": transfers,
        "settled": not found,
        "obstacles": found,
        **ring,
    }


class Riak:
    def __init__(self, module):
        self.module = module
        self.command = module.params["command"]
        self.deadline = module.params["deadline"]

    def say(self, *arguments):
        """The words of one command; a command that does not end is ended and said so."""
        try:
            run = subprocess.run(
                [*self.command, *arguments],
                check=False,
                timeout=self.deadline,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
        except subprocess.TimeoutExpired:
            return f"no answer within {self.deadline} s"
        except OSError as error:
            self.module.fail_json(msg="{} cannot be run: {}".format(" ".join(self.command), error))
        return run.stdout.decode("utf-8", "replace")

    def look(self):
        members = read_members(self.say("member-status"))
        if not members:  # the node is down: the other commands would only say so again
            nothing = {"waiting": {}, "stopped": {}, "active": 0, "answered": False}
            return judge([], {"claimant": "", "ready": False, "changing": False, "unreachable": []}, nothing)
        ring, transfers = read_ring(self.say("ring-status")), read_transfers(self.say("transfers"))
        return judge(members, ring, transfers, self.module.params["absent"], self.module.params["joining"])

    def wait(self):
        """Looks until the ring is settled and has the members that it should; fails with what is in the way."""
        params, found, ring = self.module.params, [], {}
        end = time.monotonic() + params["attempts"] * params["delay"]
        down_since = None
        while True:
            ring = self.look()
            found = ring["obstacles"] + [f"{node} is no member yet" for node in missing(params["present"], ring)]
            found += [f"{node} has not left yet" for node in params["gone"] if node in ring["names"]]
            found += too_few(ring["members"], ring, params["spared"], params["enough"]) if ring["up"] else []
            if not found:
                return ring
            now = time.monotonic()
            down = [node for node in ring["unreachable"] if node not in params["absent"]]
            down_since = (down_since or now) if down else None
            if now >= end or (down_since and now - down_since >= params["down_patience"]):
                break
            time.sleep(params["delay"])
        self.module.fail_json(msg=f"The ring is not settled, so nothing is taken down: {'; '.join(found)}.", ring=ring)
        return {}

    def insist(self, ok, done, *arguments):
        """Repeats a command while its refusal is one that passes, and `done(ring)` does not say that it was carried out
        all the same; returns its words, or fails with them."""
        words = ""
        for attempt in range(self.module.params["attempts"]):
            if attempt:
                time.sleep(self.module.params["delay"])
                if done(self.look()):
                    return words
            words = self.say(*arguments)
            if any(word in words for word in ok):
                return words
            if not any(word in words.lower() for word in MAY_PASS):
                break
        self.module.fail_json(
            msg="`{} {}` was refused: {}".format(" ".join(self.command), " ".join(arguments), words.strip()), said=words
        )
        return ""


def missing(wanted, ring):
    return [node for node in wanted if node not in ring["names"]]


def done_already(action, node, other, ring):
    """Whether the ring shows the outcome already, so that a second run changes nothing."""
    by_name = {member["name"]: member for member in ring["members"]}
    if action == "join":
        return other in by_name and len(by_name) > 1
    if action == "down":
        return node not in by_name or by_name[node]["status"] == "down"
    if action in ("leave", "force_remove", "replace", "force_replace"):
        return node not in by_name or by_name[node]["status"] in ("leaving", "exiting")
    return False


def staged_already(action, node, other, plan):
    """Whether a replacement is staged: Riak refuses a second one. `plan` None: no plan can be made now."""
    return {"action": action.replace("_", "-"), "names": [node, other]} in (plan or [])


def commit(module, riak):
    """Plans and commits once; returns (changed, words). Refuses a plan that names a node nobody asked for."""
    for attempt in range(module.params["attempts"]):
        if attempt:
            time.sleep(module.params["delay"])
        words = riak.say("cluster", "plan")
        plan = read_plan(words)
        if plan is None:
            continue
        if not plan:
            return False, words
        named = {name for change in plan for name in change["names"]}
        foreign = sorted(named - set(module.params["nodes"])) or [c["action"] for c in plan if not c["names"]]
        if foreign:
            module.fail_json(
                msg="The staged plan also changes {}, which this play did not ask for. Look at it with"
                " `{} cluster plan` and clear it with `cluster clear`, then run again.".format(
                    ", ".join(foreign), " ".join(riak.command)
                ),
                said=words,
            )
        if module.check_mode:
            return True, words
        answer = riak.say("cluster", "commit")
        if "Cluster changes committed" in answer:
            return True, words + answer
        words = answer
    module.fail_json(msg=f"The staged changes could not be committed: {words.strip()}", said=words)
    return False, ""


def main():
    module = AnsibleModule(
        argument_spec={
            "command": {"type": "list", "elements": "str", "required": True},
            "action": {"type": "str", "default": "status", "choices": ["status", "wait", "commit", *STAGED]},
            "node": {"type": "str", "default": ""},
            "other": {"type": "str", "default": ""},
            "nodes": {"type": "list", "elements": "str", "default": []},
            "absent": {"type": "list", "elements": "str", "default": []},
            "gone": {"type": "list", "elements": "str", "default": []},
            "present": {"type": "list", "elements": "str", "default": []},
            "joining": {"type": "list", "elements": "str", "default": []},
            "spared": {"type": "str", "default": ""},
            "enough": {"type": "int", "default": 0},
            "attempts": {"type": "int", "default": 1},
            "delay": {"type": "int", "default": 5},
            "down_patience": {"type": "int", "default": 30},
            "deadline": {"type": "int", "default": 60},
        },
        required_if=[("action", name, ["node"]) for name in ("leave", "force_remove", "down")]
        + [("action", name, ["node", "other"]) for name in ("replace", "force_replace")]
        + [("action", "join", ["other"])],
        supports_check_mode=True,
    )
    riak = Riak(module)
    action, node, other = module.params["action"], module.params["node"], module.params["other"]
    if action == "status":
        module.exit_json(changed=False, ring=riak.look())
    if action == "wait":
        module.exit_json(changed=False, ring=riak.wait())
    if action == "commit":
        changed, words = commit(module, riak)
        module.exit_json(changed=changed, said=words, ring=riak.look())

    def done(ring):
        plan = read_plan(riak.say("cluster", "plan")) if action in ("replace", "force_replace") else None
        return done_already(action, node, other, ring) or staged_already(action, node, other, plan)

    ring = riak.look()
    if done(ring):
        module.exit_json(changed=False, ring=ring, said="")
    if module.check_mode:
        module.exit_json(changed=True, ring=ring, said="")
    arguments = {
        "join": ("cluster", "join", other),
        "leave": ("cluster", "leave", node),
        "replace": ("cluster", "replace", node, other),
        "force_replace": ("cluster", "force-replace", node, other),
        "force_remove": ("cluster", "force-remove", node),
        "down": ("down", node),
        "clear": ("cluster", "clear"),
    }[action]
    words = riak.insist(STAGED[action], done, *arguments)
    module.exit_json(changed=True, said=words, ring=riak.look())


if __name__ == "__main__":
    main()
