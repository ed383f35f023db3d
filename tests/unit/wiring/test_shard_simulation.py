"""The simulated cluster keeps the promises of the real one: it runs the real agents' code."""

from __future__ import annotations

import asyncio

import pytest

from controlplane.model.sharding import SHARDS
from controlplane.wiring.shard_simulation import ShardSimulation

TTL_S, PACE_S = 10.0, 1.0


def simulated(agents: int, lost: int, seed: int = 0) -> object:
    return asyncio.run(ShardSimulation(agents, ttl_s=TTL_S, pace_s=PACE_S, seed=seed).run(lost))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("agents", "lost"), [(2, 1), (12, 1), (12, 5)])
def test_only_the_shards_of_the_dead_move_and_within_their_lease_and_two_seconds(
    agents: int, lost: int, seed: int
) -> None:
    found = asyncio.run(ShardSimulation(agents, ttl_s=TTL_S, pace_s=PACE_S, seed=seed).run(lost))
    assert found.working == agents
    assert found.most >= SHARDS / agents
    assert lost * SHARDS / agents <= found.moved <= lost * found.most, "the busiest are lost"
    assert found.needless == 0
    assert 0 < found.longest_unowned_s <= TTL_S + 2
    assert found.writes_after_loss == found.moved, "each is taken by one request, and by nobody else"


def test_in_quiet_times_each_agent_renews_and_looks_once_a_round() -> None:
    found = asyncio.run(ShardSimulation(10, ttl_s=TTL_S, pace_s=PACE_S).run(0))
    assert found.requests_s == pytest.approx(10 * 2 / PACE_S, rel=0.1)
    assert (found.moved, found.writes_after_loss, found.longest_unowned_s) == (0, 0, 0.0)


def test_the_same_seed_ends_the_same() -> None:
    assert simulated(5, 1, seed=7) == simulated(5, 1, seed=7)


def test_somebody_must_remain() -> None:
    with pytest.raises(ValueError, match="of 3 agents 3 cannot be lost"):
        simulated(3, 3)
