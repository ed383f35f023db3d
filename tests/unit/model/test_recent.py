"""What was said last is found while it is recent, and never more is held than the bound says."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from controlplane.model.recent import Recent

LEAST = 4
steps = st.lists(st.tuples(st.sampled_from(["set", "forget"]), st.integers(0, 9), st.integers(0, 3)), max_size=60)


@given(steps)
def test_the_last_keys_are_known_with_what_was_said_last(steps: list[tuple[str, int, int]]) -> None:
    recent: Recent[int, int] = Recent(LEAST)
    said: dict[int, int] = {}
    order: list[int] = []
    for what, key, value in steps:
        if what == "set":
            recent.set(key, value)
            said[key] = value
            order.append(key)
        else:
            recent.forget(key)
            said.pop(key, None)
        for each in range(10):
            found = recent.get(each)
            assert found is None or found == said.get(each)  # never what was said before, nor what was forgotten
        known = [each for each in range(10) if recent.get(each) is not None]
        assert len(known) <= 2 * LEAST
        last = list(dict.fromkeys(reversed(order)))[:LEAST]
        assert all(recent.get(each) == said.get(each) for each in last)
