"""Plays a whole recording: sets up what its records take for granted, and counts by group what is the same."""

import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.hosts.replay import exchanges
from tests.hosts.replay.player import Player, Record, recordings
from tests.hosts.standin.cs import acl, users
from tests.hosts.standin.loopback import Standin

RECORDED = {
    "admin": ("BVYWFCWBF6HBZWOVO26D", ""),
    "alice": ("T0AUVU7QIFJBEBBZ7XAX", "74c227381eeeec4336b1f37f2dac65c775c4b7b77b7ee671fc8871fe9a4d316a"),
    "bob": ("LV3NLXGCPG-A-9XIHHUK", "640bf9e8b0c15577cfbd5198deae34903ac7a1253bcdc3d63cc6e367bb545a7a"),
    "carol": ("", ""),
    "dave": ("", ""),
}
DIFFERENCES = Path(__file__).with_name("differences.txt")


@dataclass
class Outcome:
    """What differed, by record; and the same and all records by group."""

    differing: dict[str, str] = field(default_factory=dict)
    same: Counter[str] = field(default_factory=Counter)
    total: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        rows = [f"{group} {self.same[group]}/{self.total[group]}" for group in self.total]
        return f"{self.same.total()} of {self.total.total()} records are the same: " + ", ".join(rows)


def listed(name: str) -> dict[str, str]:
    """Known differences of a recording: record name to reason."""
    rows = [line.split(None, 2) for line in DIFFERENCES.read_text().splitlines() if line and line[0] != "#"]
    return {record: reason for file, record, reason in rows if file == name}


def player(standin: Standin) -> Player:
    stanchion = standin.cs.state.stanchion.where()
    assert stanchion is not None
    places = {f"127.0.0.{n}:8098": standin.kv_url[7:] for n in (1, 2, 3)}
    places |= {"127.0.0.1:8080": standin.s3_url[7:], "127.0.0.1:8000": standin.admin_url[7:]}
    places["127.0.0.1:8085"] = f"{stanchion['host']}:{stanchion['port']}"
    known, people = {}, {}
    for name, (key, canonical) in RECORDED.items():
        user = standin.admin
        if name != "admin":
            user = users.create(f"rec-{name}-c", f"rec-{name}-c@example.com")
            standin.cs.state.users.save(user)
        people[name] = (user.key_id, user.key_secret)
        known |= ({key: user.key_id} if key else {}) | ({canonical: user.id} if canonical else {})
    return Player(places, people, known)


def _seed_index(standin: Standin) -> None:
    kv = standin.kv.node.coordinator
    for n in range(7):
        indexes = [("city_bin", "rome" if n % 2 == 0 else "paris"), ("n_int", str(n * 10))]
        kv.put(("default", "rec-c-2i", f"k{n}"), {}, {"metadata": {"indexes": indexes}}, b"x")


def _seed_kv(standin: Standin, bucket: str, key: str, value: bytes) -> None:
    kv, place = standin.kv.node.coordinator, ("default", bucket, key)
    found = kv.get(place)
    kv.put(place, found.clock if found else {}, {"metadata": {"content-type": "text/plain"}}, value)


def _hundred_buckets(standin: Standin, play: Player) -> None:
    carol = standin.cs.state.users.get(play.people["carol"][0])
    assert carol is not None
    carol.buckets = [{"name": f"rec-c-c{n:03}", "created": 0} for n in range(100)]
    standin.cs.state.users.save(carol)


_COPIES = {"a+b": b"plus", "s p": b"space", "\xfc": b"unicode", "p%c": b"percent", "d/k": b"x", "d/e/k": b"x"}
_ODD_KEYS = {"x/a+b": b"+", "x/p%c": b"pc", "x/s p": b"sp", "x/\xfc": b"u"}


def prepare(standin: Standin, play: Player, record: Record) -> None:
    """Steps that the recorder took without recording them, before the record that needs them."""
    state = standin.cs.state
    bob = users.Bucket("rec-c-bob", play.people["bob"][0], acl.private(None), users.now_ms())
    steps: dict[str, Callable[[], object]] = {
        "index-bin-exact": lambda: _seed_index(standin),
        "put-bad-vclock": lambda: _seed_kv(standin, "rec-c-kv", "a", b"merged2"),
        "buckets-list": lambda: _seed_kv(standin, "0b:\xbe\x87\x76", "k", b"x"),
        "get-r1": lambda: _seed_kv(standin, "rec-c-kv", "q", b"v"),
        "get-deleted-later": lambda: time.sleep(4),
        "bucket-recreate-by-other": lambda: state.buckets.delete("rec-c-slash"),
        "copy-foreign-source": lambda: state.buckets.save(bob),
        "user-delete": lambda: store_delete(standin, "rec-c1-dis"),
        "limit-buckets-101": lambda: _hundred_buckets(standin, play),
        "list-keys-with-plus": lambda: store_all(standin, play, "rec-c-keys", _ODD_KEYS),
        "overwrite-race-get": lambda: store_all(standin, play, "rec-c-main", {"race": b"r3"}),
        "delete-then-get": lambda: state.objects.remove("rec-c-main", b"ow"),
        "copy-source-plus-raw": lambda: store_all(standin, play, "rec-c-cs", _COPIES),
    }
    if record["name"] in steps:
        steps[record["name"]]()


def store_all(standin: Standin, play: Player, bucket: str, contents: dict[str, bytes]) -> None:
    for key, value in contents.items():
        store(standin, play, bucket, key.encode(), value)


def store(standin: Standin, play: Player, bucket: str, key: bytes, value: bytes) -> None:
    owner = standin.cs.state.users.get(play.people["alice"][0])
    objects = standin.cs.state.objects
    segment, digest = objects.store(bucket, [value])
    manifest = {"size": len(value), "etag": digest.hex(), "type": "application/octet-stream", "headers": {}}
    objects.publish(bucket, key, "null", manifest | {"acl": acl.private(owner), "segments": [segment]})


def store_delete(standin: Standin, name: str) -> None:
    standin.cs.state.objects.remove(name, b"k")
    standin.cs.state.stanchion.ask("delete_bucket", {"name": name})


def after(play: Player, record: Record, body: bytes) -> None:
    """The user of the admin recording, once it exists and when its secret changes."""
    if record["name"] in ("user-create-json", "user-put-new-secret") and body.startswith(b"{"):
        user: dict[str, Any] = json.loads(body)
        play.people["old"] = play.people.get("u", ("", ""))
        play.people["u"] = (user["key_id"], user["key_secret"])


def replay(standin: Standin, name: str) -> Outcome:
    outcome, play = Outcome(), player(standin)
    for record in recordings(name):
        request = record["request"]
        outcome.total[record["group"]] += 1
        prepare(standin, play, record)
        if "raw" in request:
            problem = exchanges.differs(play, record)
        elif "cli" in request:
            shown, code = standin.kv.admin(request["cli"][2:])
            recorded = record["response"]
            wanted = sorted(recorded["stdout"].splitlines()), recorded["exit"]
            problem = None if (sorted(shown.splitlines()), code) == wanted else f"printed {shown!r}"
        else:
            answer = play.play(record)
            problem = play.same(record, answer)
            after(play, record, answer.body)
        if problem is None:
            outcome.same[record["group"]] += 1
        else:
            outcome.differing[record["name"]] = problem
    return outcome
