"""riak_cluster judges by words: the words here are recordings of Riak KV 3.2.3, or its source's."""

import pytest

from tests.kit.conftest import load

riak = load("roles/riak/library/riak_cluster.py")

MEMBERS = """\
================================= Membership ==================================
Status     Ring    Pending    Node
-------------------------------------------------------------------------------
valid      31.3%      --      riak2@127.0.0.2
valid      31.3%      --      'riak3@127.0.0.3'
joining     0.0%     50.0%    riak@127.0.0.1
-------------------------------------------------------------------------------
Valid:3 / Leaving:0 / Exiting:0 / Joining:0 / Down:0
ok
"""
QUIET = """\
================================== Claimant ===================================
Claimant:  'riak@127.0.0.1'
Status:     up
Ring Ready: true

============================== Ownership Handoff ==============================
No pending changes.

============================== Unreachable Nodes ==============================
All nodes are up and reachable

ok
"""
MOVING = """\
================================== Claimant ===================================
Claimant:  'riak1@127.0.0.1'
Status:     up
Ring Ready: true

============================== Ownership Handoff ==============================
Owner:      riak1@127.0.0.1
Next Owner: riak2@127.0.0.2

Index: 91343852333181432387730302044767688728495783936
  Waiting on: [riak_kv_vnode,riak_pipe_vnode]

-------------------------------------------------------------------------------

============================== Unreachable Nodes ==============================
All nodes are up and reachable

ok
"""
ONE_DOWN = """\
================================== Claimant ===================================
Claimant:  'riak@127.0.0.1'
Status:     up
Ring Ready: true

============================== Ownership Handoff ==============================
No pending changes.

============================== Unreachable Nodes ==============================
The following nodes are unreachable: ['riak3@127.0.0.3']

WARNING: The cluster state will not converge until all nodes
are up.
ok
"""
NO_TRANSFERS = "No transfers active\n\nActive Transfers:\n\n\nok\n"
TRANSFERS_WITH_ONE_DOWN = """\
Nodes ['riak3@127.0.0.3'] are currently down.
'riak@127.0.0.1' waiting to handoff 10 partitions
'riak2@127.0.0.2' waiting to handoff 11 partitions

Active Transfers:


Node 'riak3@127.0.0.3' could not be contacted
ok
"""
ACTIVE = """\
'riak3@127.0.0.3' does not have 5 primary partitions running

Active Transfers:

transfer type: ownership
vnode type: riak_kv_vnode
partition: 0
started: 2026-11-22 21:00:00 [1.2 s ago]
last update: no updates seen

ok
"""
PLAN = """\
=============================== Staged Changes ================================
Action         Details(s)
-------------------------------------------------------------------------------
join           'riak2@127.0.0.2'
force-replace  'riak3@127.0.0.3' with 'riak4@127.0.0.4'
-------------------------------------------------------------------------------


NOTE: Applying these changes will result in 1 cluster transition

###############################################################################
                         After cluster transition 1/1
###############################################################################

================================= Membership ==================================
valid       0.0%     50.0%    riak9@127.0.0.9
ok
"""
VALID = [{"name": f"riak@10.0.0.{n}", "status": "valid", "ring": 50.0, "pending": "--"} for n in (1, 2)]


def test_members_are_read_with_and_without_quotes():
    assert [(m["name"], m["status"], m["pending"]) for m in riak.read_members(MEMBERS)] == [
        ("riak2@127.0.0.2", "valid", "--"),
        ("riak3@127.0.0.3", "valid", "--"),
        ("riak@127.0.0.1", "joining", "50.0%"),
    ]


def test_a_dead_node_has_no_members():
    assert riak.read_members("Node riak3@127.0.0.3 is not responding to pings\n") == []


@pytest.mark.parametrize(
    ("text", "changing", "unreachable"),
    [(QUIET, False, []), (MOVING, True, []), (ONE_DOWN, False, ["riak3@127.0.0.3"])],
)
def test_ring_status(text, changing, unreachable):
    ring = riak.read_ring(text)
    assert (ring["ready"], ring["changing"], ring["unreachable"]) == (True, changing, unreachable)


def test_transfers():
    assert riak.read_transfers(NO_TRANSFERS) == {"waiting": {}, "stopped": {}, "active": 0, "answered": True}
    assert riak.read_transfers(TRANSFERS_WITH_ONE_DOWN)["waiting"] == {"riak@127.0.0.1": 10, "riak2@127.0.0.2": 11}
    active = riak.read_transfers(ACTIVE)
    assert (active["active"], active["stopped"]) == (1, {"riak3@127.0.0.3": 5})
    assert not riak.read_transfers("Transfers failed, see log for details\n")["answered"]


def test_a_plan_is_read_up_to_its_note():
    assert riak.read_plan(PLAN) == [
        {"action": "join", "names": ["riak2@127.0.0.2"]},
        {"action": "force-replace", "names": ["riak3@127.0.0.3", "riak4@127.0.0.4"]},
    ]
    assert riak.read_plan("There are no staged changes\nok\n") == []
    assert riak.read_plan("Cannot plan until cluster state has converged.\n") is None


@pytest.mark.parametrize(
    ("members", "ring", "transfers", "word"),
    [
        ([], QUIET, NO_TRANSFERS, "does not answer"),
        (VALID, QUIET.replace("true", "false"), NO_TRANSFERS, "not ready"),
        (VALID, MOVING, NO_TRANSFERS, "ownership is moving"),
        (VALID, ONE_DOWN, NO_TRANSFERS, "unreachable: riak3@127.0.0.3"),
        (VALID, QUIET, TRANSFERS_WITH_ONE_DOWN, "waits to hand off 10"),
        (VALID, QUIET, ACTIVE, "1 transfers are running"),
        (VALID, QUIET, "error\n", "not known"),
        ([{**VALID[0], "status": "leaving"}], QUIET, NO_TRANSFERS, "is leaving"),
    ],
)
def test_no_node_is_taken_down_while_something_is_in_the_way(members, ring, transfers, word):
    judged = riak.judge(members, riak.read_ring(ring), riak.read_transfers(transfers))
    assert not judged["settled"]
    assert word in "; ".join(judged["obstacles"])


def test_a_quiet_ring_is_settled():
    assert riak.judge(VALID, riak.read_ring(QUIET), riak.read_transfers(NO_TRANSFERS))["settled"]


def test_a_node_that_may_be_absent_is_in_nobodys_way_but_a_second_one_is():
    ring, transfers = riak.read_ring(ONE_DOWN), riak.read_transfers(TRANSFERS_WITH_ONE_DOWN)
    assert riak.judge(VALID, ring, transfers, ["riak3@127.0.0.3"])["settled"]
    assert not riak.judge(VALID, ring, transfers, ["riak9@127.0.0.9"])["settled"]


def test_a_staged_join_is_in_the_way_of_all_but_those_who_staged_it():
    members = [*VALID, {"name": "riak@10.0.0.3", "status": "joining", "ring": 0.0, "pending": "--"}]
    seen = (members, riak.read_ring(QUIET), riak.read_transfers(NO_TRANSFERS))
    assert not riak.judge(*seen)["settled"]
    assert not riak.judge(*seen, joining=["riak@10.0.0.4"])["settled"]
    assert riak.judge(*seen, joining=["riak@10.0.0.3"])["settled"]


@pytest.mark.parametrize(
    ("statuses", "unreachable", "refused"),
    [
        (("valid", "valid", "valid"), [], False),
        (("valid", "valid", "joining"), [], True),
        (("valid", "valid", "valid"), ["b"], True),
        (("valid", "valid", "valid", "valid"), ["b"], False),
        (("valid",), [], True),
    ],
)
def test_a_node_goes_down_only_while_enough_others_are_up(statuses, unreachable, refused):
    members = [{"name": name, "status": status} for name, status in zip("abcd", statuses, strict=False)]
    assert bool(riak.too_few(members, {"unreachable": unreachable}, "a", 2)) is refused


def state(*members):
    return {"members": [{"name": name, "status": status} for name, status in members]}


@pytest.mark.parametrize(
    ("action", "node", "other", "ring", "done"),
    [
        ("join", "b", "a", state(("b", "valid")), False),
        ("join", "b", "a", state(("a", "valid"), ("b", "valid")), True),
        ("join", "b", "a", state(("a", "valid"), ("b", "joining")), True),
        ("leave", "b", "", state(("a", "valid"), ("b", "valid")), False),
        ("leave", "b", "", state(("a", "valid"), ("b", "leaving")), True),
        ("leave", "b", "", state(("a", "valid")), True),
        ("down", "b", "", state(("a", "valid"), ("b", "down")), True),
        ("replace", "b", "c", state(("a", "valid"), ("c", "valid")), True),
        ("replace", "b", "c", state(("a", "valid"), ("b", "leaving"), ("c", "valid")), True),
        ("replace", "b", "c", state(("a", "valid"), ("b", "valid"), ("c", "joining")), False),
    ],
)
def test_a_second_run_changes_nothing(action, node, other, ring, done):
    assert riak.done_already(action, node, other, ring) is done


def test_a_replacement_that_is_staged_is_not_staged_again():
    """Riak refuses that, and an interrupted run would never finish."""
    plan = riak.read_plan(PLAN)
    pair = ("riak3@127.0.0.3", "riak4@127.0.0.4")
    assert riak.staged_already("force_replace", *pair, plan)
    assert not riak.staged_already("replace", *pair, plan)
    assert not riak.staged_already("force_replace", pair[0], "riak5@127.0.0.5", plan)
    assert not riak.staged_already("force_replace", *pair, None)


class Module:
    """What AnsibleModule is to `insist`."""

    class Failed(Exception):
        pass

    def __init__(self):
        self.params = {
            "command": ["riak", "admin"],
            "deadline": 1,
            "attempts": 4,
            "delay": 0,
            "absent": [],
            "joining": [],
        }

    def fail_json(self, msg, **_):
        raise self.Failed(msg)


class Scripted(riak.Riak):
    """Says one thing after the other; counts what was asked."""

    def __init__(self, *answers):
        super().__init__(Module())
        self.answers, self.asked = list(answers), 0

    def say(self, *arguments):
        self.asked += 1
        return self.answers.pop(0)

    def look(self):
        return {}


CLAIMANT = """\
Failed: 'riak3@127.0.0.3' is the claimant (see: riak-admin ring_status).
The claimant is the node responsible for initiating cluster changes,
and cannot forcefully replace itself. You can use 'riak-admin down' to
mark the node as offline, which will trigger a new claimant to take
over.  However, this will clear any staged changes.
error
"""


@pytest.mark.parametrize(
    "refusal",
    [
        "Join failed. Try again in a few moments.\nerror\n",
        "Failed: Unable to get ring from riak1@127.0.0.1\nerror\n",
        "Join failed, see log for details\nerror\n",
        "no answer within 60 s",
        CLAIMANT,
    ],
)
def test_a_refusal_that_passes_is_tried_again(refusal):
    node = Scripted(refusal, "Success: staged join request for 'b' to 'a'\nok\n")
    assert "Success" in node.insist(riak.STAGED["join"], lambda _: False, "cluster", "join", "a")


def test_what_was_carried_out_without_an_answer_is_not_asked_for_again():
    node = Scripted("no answer within 60 s", "Failed: This node is already a member of a cluster\nerror\n")
    node.insist(riak.STAGED["join"], lambda _: True, "cluster", "join", "a")
    assert node.asked == 1


@pytest.mark.parametrize(
    "refusal", ["Failed: riak3@127.0.0.3 is up\nerror\n", "Failed: 'c' is not a member of the cluster.\n"]
)
def test_a_refusal_that_stays_is_told_at_once(refusal):
    node = Scripted(refusal)
    with pytest.raises(Module.Failed, match="was refused: Failed"):
        node.insist(riak.STAGED["down"], lambda _: False, "down", "riak3@127.0.0.3")
    assert node.asked == 1
