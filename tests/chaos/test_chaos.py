"""A fixed set of seeds, for every landing: nothing acknowledged is lost, nothing deleted comes back, rclone agrees."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.cluster import Cluster, running
from tests.chaos.schedule import schedule
from tests.chaos.trial import trial

SEEDS = {"sqlite": (1, 2), "riak_kv": (3,)}
"""By the kind of journal."""
LENGTH_S = 25.0


@pytest.fixture(scope="module", params=list(SEEDS))
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running(tmp_path_factory.mktemp("chaos"), SEEDS[request.param][0], request.param) as cluster:
        yield cluster


@pytest.mark.chaos
@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("cluster", "seed"),
    [(kind, seed) for kind, seeds in SEEDS.items() for seed in seeds],
    indirect=["cluster"],
    scope="module",
)
def test_what_was_acknowledged_is_in_both_stores(cluster: Cluster, tmp_path: Path, seed: int) -> None:
    said = [f"seed {seed} of {LENGTH_S:g} s; replay: make chaos SEEDS={seed}", *map(str, schedule(seed, LENGTH_S))]
    if not cluster.own_disks:
        print("NOTE: file systems cannot be mounted here (root is needed): no disk is filled")
    verdict = trial(cluster, tmp_path, seed, length_s=LENGTH_S, keys=20_000, rate=40.0, say=said.append)
    print(verdict)
    assert verdict.good, "\n".join([*said, str(verdict)])
    assert verdict.figures["written"] > 20, str(verdict)
