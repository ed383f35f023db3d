"""Own large bodies never make the mirror give way to itself; others beside them do."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from controlplane.model.pace import Body, OwnBodies, Pace, Side

MIB = 1 << 20
STEP_S = 0.02
READ_AT_ONCE = 4
HELD = round(20 / STEP_S)
"""Steps."""


@dataclass
class Store:
    """Divides its speed evenly among all that it moves; its answers to small requests wait behind the bodies."""

    mib_per_s: float
    each_mib_per_s: float
    others: float = 0.0
    """Bodies of others that it moves all the time."""
    own: dict[int, float] = field(default_factory=dict)
    """MiB that are left, by the number of the copy."""

    def step(self) -> list[int]:
        """Those that are through."""
        if self.own:
            speed = min(self.each_mib_per_s, self.mib_per_s / (len(self.own) + self.others))
            for copy in self.own:
                self.own[copy] -= speed * STEP_S
        return [copy for copy, left in self.own.items() if left <= 1e-9]

    @property
    def answer_s(self) -> float:
        return 0.002 * (1 + 5 * (len(self.own) + self.others))


@dataclass
class Copying:
    """A lane with no end of large objects: few are read at a time, all others are on their way to the target."""

    pace: Pace
    source: Store
    target: Store
    size_mib: float
    now: float = 100.0
    copies: int = 0
    moving: dict[int, Body] = field(default_factory=dict)
    waiting: deque[int] = field(default_factory=deque)

    def limits(self, seconds: float) -> list[int]:
        """The limit after every step."""
        seen = []
        for _ in range(round(seconds / STEP_S)):
            self._step()
            seen.append(self.pace.limit)
        return seen

    def _step(self) -> None:
        while len(self.moving) + len(self.waiting) < self.pace.limit:
            self.copies += 1
            self.waiting.append(self.copies)
        while self.waiting and len(self.source.own) < READ_AT_ONCE:
            self.pace.answered(self.source.answer_s, "", Side.SOURCE, self.now)
            self._begin(self.waiting.popleft(), Side.SOURCE, self.source)
        self.now += STEP_S
        for copy in self.source.step():
            self._end(copy, self.source)
            self._begin(copy, Side.TARGET, self.target)
        for copy in self.target.step():
            self._end(copy, self.target)
            self.pace.answered(self.target.answer_s, "head", Side.TARGET, self.now)

    def _begin(self, copy: int, side: Side, store: Store) -> None:
        store.own[copy] = self.size_mib
        self.moving[copy] = self.pace.began(side, self.now)

    def _end(self, copy: int, store: Store) -> None:
        del store.own[copy]
        self.pace.ended(self.moving.pop(copy), round(self.size_mib * MIB), self.now)


SPEEDS = st.tuples(st.floats(20, 400), st.floats(10, 400))


NOT_SHRUNK = (Phase.explicit, Phase.reuse, Phase.generate)
"""Shrinking hundreds of simulated seconds would take minutes."""


@settings(deadline=None, max_examples=20, phases=NOT_SHRUNK)
@given(SPEEDS, SPEEDS, st.floats(8, 64), st.integers(2, 24))
def test_own_bodies_alone_never_slow_the_lane_down(
    source: tuple[float, float], target: tuple[float, float], size_mib: float, most: int
) -> None:
    lane = Copying(Pace(most), Store(*source), Store(*target), size_mib)
    assert set(lane.limits(60)) == {most}
    assert lane.copies > most


@settings(deadline=None, max_examples=8, phases=NOT_SHRUNK)
@given(st.floats(100, 300), st.floats(8, 16), st.integers(4, 16), st.sampled_from(Side))
def test_it_gives_way_to_others_beside_its_own_bodies_and_takes_up_again(
    speed: float, size_mib: float, most: int, side: Side
) -> None:
    lane = Copying(Pace(most), Store(speed, speed), Store(speed, speed), size_mib)
    busy = lane.source if side is Side.SOURCE else lane.target
    lane.limits(20)
    busy.others = 6.0 * most
    seen = lane.limits(400)
    gave_way = next((at for at, limit in enumerate(seen) if limit <= 2), len(seen))
    assert gave_way + HELD < len(seen)
    assert max(seen[gave_way : gave_way + HELD]) <= 2
    busy.others = 0.0
    again = lane.limits(300)
    assert again[-1] >= most * 0.7


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 10)), max_size=60))
def test_the_shares_of_all_bodies_are_the_time_in_which_any_moved(events: list[tuple[bool, float]]) -> None:
    bodies, now = OwnBodies(), 50.0
    moving: deque[Body] = deque()
    shares = busy_s = 0.0
    for begins, pause in events:
        busy_s += pause if moving else 0.0
        now += pause
        if begins:
            moving.append(bodies.began(Side.SOURCE, now))
        elif moving:
            body = moving.popleft()
            share = bodies.ended(body, now)
            assert share <= now - body.began_at + 1e-6
            shares += share
        assert bodies.none_since(now) is not bool(moving)
    while moving:
        shares += bodies.ended(moving.pop(), now)
    assert shares == pytest.approx(busy_s)


def test_requests_are_listened_to_only_when_no_own_body_moved_meanwhile() -> None:
    pace = Pace(8)
    pace.answered(0.01, "", Side.SOURCE, 10.0)
    body = pace.began(Side.SOURCE, 11.0)
    for _ in range(100):
        pace.answered(5.0, "", Side.SOURCE, 12.0)
    pace.ended(body, None, 13.0)
    for _ in range(100):
        pace.answered(5.0, "", Side.SOURCE, 17.0)  # began while it moved
    assert pace.limit == 8
    for _ in range(100):
        pace.answered(5.0, "", Side.SOURCE, 18.5)
    assert pace.limit == 1


def test_bodies_at_one_store_hide_nothing_of_the_other() -> None:
    pace = Pace(8)
    pace.answered(0.01, "", Side.SOURCE, 10.0)
    pace.began(Side.TARGET, 11.0)
    for _ in range(100):
        pace.answered(1.0, "", Side.SOURCE, 20.0)
    assert pace.limit == 1


def test_what_broke_off_tells_nothing() -> None:
    pace = Pace(1)
    pace.throttled()
    for _ in range(50):
        pace.ended(pace.began(Side.SOURCE, 1.0), None, 1000.0)
    pace.ended(pace.began(Side.SOURCE, 1000.0), MIB, 1000.1)
    assert pace.limit == 1
