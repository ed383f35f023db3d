"""Plays a whole recording: sets up what its records take for granted, and counts by group what is the same."""

import json
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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


def prepare(standin: Standin, play: Player, record: Record) -> None:
    """Steps that the recorder took without recording them, before the record that needs them."""
    kv = standin.kv.node.coordinator
    match record["name"]:
        case "index-bin-exact":
            for n in range(7):
                city = "rome" if n % 2 == 0 else "paris"
                indexes = [("city_bin", city), ("n_int", str(n * 10))]
                kv.put(("default", "rec-c-2i", f"k{n}"), {}, {"metadata": {"indexes": indexes}}, b"x")
        case "put-bad-vclock":
            place = ("default", "rec-c-kv", "a")
            found = kv.get(place)
            kv.put(place, found.clock if found else {}, {"metadata": {"content-type": "text/plain"}}, b"merged2")
        case "buckets-list":
            kv.put(("default", "0b:\xbe\x87\x76", "k"), {}, {"metadata": {}}, b"x")
        case "get-r1":
            kv.put(("default", "rec-c-kv", "q"), {}, {"metadata": {"content-type": "text/plain"}}, b"v")
        case "get-deleted-later":
            time.sleep(4)
        case "bucket-recreate-by-other":
            standin.cs.state.buckets.delete("rec-c-slash")
        case "copy-foreign-source":
            bucket = users.Bucket("rec-c-bob", play.people["bob"][0], acl.private(None), users.now_ms())
            standin.cs.state.buckets.save(bucket)
        case "user-delete":
            store_delete(standin, "rec-c1-dis")
        case "limit-buckets-101":
            carol = standin.cs.state.users.get(play.people["carol"][0])
            assert carol is not None
            carol.buckets = [{"name": f"rec-c-c{n:03}", "created": 0} for n in range(100)]
            standin.cs.state.users.save(carol)
        case "list-keys-with-plus":
            for key, value in (("x/a+b", b"x"), ("x/p%c", b"pc"), ("x/s p", b"sp"), ("x/\xfc".encode(), b"ue")):
                store(standin, play, "rec-c-keys", key if isinstance(key, bytes) else key.encode(), value)
        case "overwrite-race-get":
            store(standin, play, "rec-c-main", b"race", b"r3")
        case "delete-then-get":
            standin.cs.state.objects.remove("rec-c-main", b"ow")
        case "copy-source-plus-raw":
            copies = {"a+b": "plus", "s p": "space", "\xfc": "unicode", "p%c": "percent", "d/k": "x", "d/e/k": "x"}
            for key, value in copies.items():
                store(standin, play, "rec-c-cs", key.encode(), value.encode())
        case _:
            pass


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
        if "raw" in request:
            continue
        outcome.total[record["group"]] += 1
        prepare(standin, play, record)
        if "cli" in request:
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
