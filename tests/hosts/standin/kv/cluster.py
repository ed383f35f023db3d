"""Membership of one node: its ring, who is up, and the staged changes that the claimant carries out."""

import json
import os
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.hosts.standin.dist.link import NotReachable, Peers, RemoteError
from tests.hosts.standin.kv import ring as rings
from tests.hosts.standin.kv.claim import after
from tests.hosts.standin.kv.ring import Change, Ring

BEAT = 0.5
SILENCE = 8.0
"""Seconds without a word after which a node counts as down. One that refuses or resets a connection does so at once, as
a node whose connection Erlang loses; Erlang itself waits up to a minute for one that is silent."""
JOIN_PAUSE = 1.5
"""Seconds after a staged join in which another one is told to try again."""


class Cluster:
    """`version` of the ring decides; the claimant alone changes it. `bye` is called when this node was removed."""

    def __init__(
        self, node: str, ring_size: int, target_n_val: int, state: Path, peers: Peers, bye: Callable[[], None]
    ) -> None:
        self.node, self.peers, self._state, self._bye = node, peers, state, bye
        self._ring_size, self.target_n_val = ring_size, target_n_val
        self.lock = threading.RLock()
        self.metadata: dict[str, tuple[float, Any]] = {}
        self._heard: dict[str, float] = {}
        self._beating: set[str] = set()
        self._stop = threading.Event()
        self._planned: tuple[Change, ...] | None = None
        self._last_join = 0.0
        self.changed = threading.Event()
        self.ring = self._load()

    # -- keeping it -----------------------------------------------------------------------------------------------

    def _load(self) -> Ring:
        try:
            data = json.loads(self._state.read_text())
        except FileNotFoundError:
            ring = rings.fresh(self.node, self._ring_size, uuid.uuid4().hex)
            self._save(ring)
            return ring
        self.metadata = {k: (v[0], v[1]) for k, v in data["metadata"].items()}
        ring = rings.from_json(data["ring"])
        if self.node not in ring.members:
            raise RuntimeError(f"the ring file knows {sorted(ring.members)} and not this node, {self.node}")
        return ring

    def _save(self, ring: Ring) -> None:
        self._state.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._state.with_suffix(".new")
        with open(fresh, "w") as stream:
            json.dump({"ring": ring.to_json(), "metadata": self.metadata}, stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(fresh, self._state)

    def forget(self) -> None:
        """Makes this node a cluster of one again at its next start."""
        self._state.unlink(missing_ok=True)

    # -- who is up ------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """All members count as up until they are silent or refuse: a node that has just come does not stand alone."""
        now = time.monotonic()
        self._heard = {node: self._heard.get(node, now) for node in self.ring.members}
        threading.Thread(target=self._beat, daemon=True, name="beat").start()

    def stop(self) -> None:
        self._stop.set()

    def up(self) -> set[str]:
        now = time.monotonic()
        alive = {n for n, heard in list(self._heard.items()) if now - heard < SILENCE}
        return {n for n in self.ring.members if n == self.node or n in alive}

    def suspect(self, node: str, reason: Exception) -> None:
        """What was only slow may be busy: silence decides about it."""
        if isinstance(reason, NotReachable) and not isinstance(reason.__cause__, TimeoutError):
            self._heard.pop(node, None)

    def _beat(self) -> None:
        while not self._stop.wait(BEAT):
            for node in self.ring.members:
                if node != self.node and node not in self._beating:
                    self._beating.add(node)
                    threading.Thread(target=self._ping, args=(node,), daemon=True).start()

    def _ping(self, node: str) -> None:
        try:
            hello = {"from": self.node, "version": self.ring.version, "cluster": self.ring.cluster}
            answer, _ = self.peers.call(node, "hello", hello, timeout=SILENCE * 0.75)
            self._heard[node] = time.monotonic()
            if answer["version"] > self.ring.version:
                self.pull(node)
            elif answer["metadata"] != self.metadata_version():
                self.pull_metadata(node)
            if self.ring.members.get(node) == "down" and self.ring.claimant == self.node:
                self.apply(self.ring.changed(members=self.ring.members | {node: "valid"}))
        except (NotReachable, RemoteError) as error:
            self.suspect(node, error)
        finally:
            self._beating.discard(node)

    def hello(self, message: dict[str, Any]) -> dict[str, Any]:
        if message["from"] in self.ring.members:
            self._heard[message["from"]] = time.monotonic()
        return {"version": self.ring.version, "metadata": self.metadata_version()}

    def pull(self, node: str) -> None:
        data, _ = self.peers.call(node, "ring")
        self.accept(rings.from_json(data))

    def accept(self, ring: Ring) -> None:
        """Takes over a newer ring of the same cluster; one without this node means that it was removed."""
        with self.lock:
            if ring.cluster != self.ring.cluster or ring.version <= self.ring.version:
                return
            self.ring = ring
            if self.node not in ring.members:
                self.forget()
                self._bye()
                return
            self._save(ring)
        self.changed.set()

    def apply(self, ring: Ring, also: tuple[str, ...] = ()) -> None:
        """A change made here: kept, then pushed to all that can be reached."""
        with self.lock:
            self.ring = ring
            self._save(ring)
        self.changed.set()
        for node in {*ring.members, *also} - {self.node}:
            try:
                self.peers.call(node, "new_ring", ring.to_json(), timeout=1.5)
            except (NotReachable, RemoteError) as error:
                self.suspect(node, error)

    # -- cluster-wide metadata ------------------------------------------------------------------------------------

    def metadata_version(self) -> float:
        return round(sum(stamp for stamp, _ in self.metadata.values()), 6)

    def set_metadata(self, key: str, value: Any) -> None:
        self.merge_metadata({key: (time.time(), value)})
        for node in self.up() - {self.node}:
            try:
                self.peers.call(node, "new_metadata", {key: self.metadata[key]}, timeout=1.5)
            except (NotReachable, RemoteError) as error:
                self.suspect(node, error)

    def merge_metadata(self, incoming: dict[str, Any]) -> None:
        with self.lock:
            for key, (stamp, value) in incoming.items():
                if key not in self.metadata or self.metadata[key][0] < stamp:
                    self.metadata[key] = (stamp, value)
            self._save(self.ring)

    def pull_metadata(self, node: str) -> None:
        self.merge_metadata(self.peers.call(node, "metadata")[0])

    # -- staged changes -------------------------------------------------------------------------------------------

    def join(self, target: str) -> None:
        """Stages this node's own join. Raises RemoteError with the reason as its kind."""
        if target == self.node:
            raise RemoteError("self_join")
        if len(self.ring.members) > 1:
            raise RemoteError("not_single_node")
        try:
            theirs = rings.from_json(self.peers.call(target, "ring")[0])
        except NotReachable:
            raise RemoteError("not_reachable") from None
        if theirs.size != self.ring.size:
            raise RemoteError("different_ring_sizes")
        self.peers.call(target, "stage", {"change": ["join", self.node]}, timeout=6)
        joined = rings.from_json(self.peers.call(target, "ring")[0])
        with self.lock:
            self._heard = dict.fromkeys(joined.members, time.monotonic())
            self.ring = joined
            self.metadata = {}
            self._save(joined)
        self.pull_metadata(target)

    def on_claimant(self, op: str, args: dict[str, Any]) -> Any:
        """Runs a change here if this node is the claimant, else there."""
        if self.ring.claimant == self.node:
            return getattr(self, f"do_{op}")(**args)
        try:
            return self.peers.call(self.ring.claimant, op, args, timeout=8)[0]
        except NotReachable:
            raise RemoteError("claimant_unreachable") from None

    def do_stage(self, change: list[str]) -> None:
        with self.lock:
            ring = self.ring
            self._check(tuple(change), ring)
            members = ring.members
            if change[0] == "join":
                if time.monotonic() - self._last_join < JOIN_PAUSE:
                    raise RemoteError("try_again")
                self._last_join = time.monotonic()
                members = members | {change[1]: "joining"}
                self._heard[change[1]] = time.monotonic()
            self._planned = None
            others = (known for known in ring.staged if known[1] != change[1])  # one change a node, the last one counts
            self.apply(ring.changed(members=members, staged=(*others, tuple(change))))

    def _check(self, change: Change, ring: Ring) -> None:
        kind, node = change[:2]
        if kind == "join":
            if node in ring.members:
                raise RemoteError("not_single_node")
            return
        if node not in ring.members:
            raise RemoteError("not_member")
        if ring.members[node] in ("leaving", "exiting"):
            raise RemoteError("already_leaving")
        if sum(status == "valid" for status in ring.members.values()) < 2 and len(ring.members) < 2:
            raise RemoteError("only_member")
        if kind in ("remove", "force_replace") and node == ring.claimant:
            raise RemoteError("is_claimant")
        if kind.endswith("replace"):
            if ring.members.get(change[2]) != "joining":
                raise RemoteError("invalid_replacement")
            if any(change[2] == c[2] for c in ring.staged if len(c) > 2):
                raise RemoteError("already_replacement")

    def do_clear(self) -> None:
        with self.lock:
            members = {n: s for n, s in self.ring.members.items() if s != "joining"}
            gone = tuple(self.ring.members.keys() - members.keys())
            self._planned = None
            self.apply(self.ring.changed(members=members, staged=()), gone)

    def do_plan(self) -> dict[str, Any]:
        ring = self.ring
        self._converged()
        self._planned = ring.staged
        return {
            "ring": ring.to_json(),
            "steps": [step.to_json() for step in after(ring, self.target_n_val)] if ring.staged else [],
        }

    def do_commit(self) -> None:
        with self.lock:
            if not self.ring.staged:
                raise RemoteError("nothing_planned")
            if self._planned != self.ring.staged:
                raise RemoteError("nothing_planned")
            self._converged()
            self._planned = None
            gone = tuple(c[1] for c in self.ring.staged if c[0] in ("remove", "force_replace"))
            self.apply(after(self.ring, self.target_n_val)[0], gone)

    def _converged(self) -> None:
        waiting = {n for n, s in self.ring.members.items() if s != "down"} - self.up()
        removed = {c[1] for c in self.ring.staged if c[0] in ("remove", "force_replace")}
        if waiting - removed:
            raise RemoteError("ring_not_ready")

    def do_moved(self, partition: int) -> None:
        """A partition has arrived at its next owner."""
        with self.lock:
            ring = self.ring
            if partition not in ring.moves:
                return
            owners = list(ring.owners)
            owners[partition] = ring.moves[partition]
            moves = {p: n for p, n in ring.moves.items() if p != partition}
            done = [n for n, s in ring.members.items() if s == "leaving" and n not in owners]
            if moves:
                done = []
            members = {n: s for n, s in ring.members.items() if n not in done}
            claimant = ring.claimant if ring.claimant in members else min(n for n, s in members.items() if s == "valid")
            self.apply(ring.changed(owners=tuple(owners), moves=moves, members=members, claimant=claimant), tuple(done))
            if self.node in done:
                self.forget()
                self._bye()

    def mark_down(self, node: str) -> None:
        """Here or on the claimant; when the claimant itself is down, this node takes its place."""
        if node not in self.ring.members:
            raise RemoteError("not_member")
        if node in self.up():
            raise RemoteError("is_up")
        if self.ring.claimant == node:
            with self.lock:
                self.apply(self.ring.changed(members=self.ring.members | {node: "down"}, claimant=self.node))
        else:
            self.on_claimant("set_down", {"node": node})

    def do_set_down(self, node: str) -> None:
        with self.lock:
            self.apply(self.ring.changed(members=self.ring.members | {node: "down"}))
