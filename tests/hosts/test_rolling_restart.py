"""rolling_restart.yml, with a power cut in its middle: it stops, the cluster serves, a second run finishes."""

from tests.hosts.cluster import RIAK, Cluster
from tests.hosts.lifecycle import Kept, starts, whole


def test_a_power_cut_in_its_middle(cluster: Cluster) -> None:
    kept = Kept(cluster, "kept-restart", count=15)
    kept.write()
    before = starts(cluster)
    with cluster.traffic("restart") as traffic:
        play = cluster.start("rolling_restart")
        play.wait_for(r"TASK \[riak : Restart Riak\] \*+(\n.*)?\nchanged: \[n2\]")
        cluster.lab.crash("n2")
        first = play.finish()
        assert first.code != 0
        traffic.wait_for(20)

        # The gate itself refuses, when it is asked for another node alone.
        refused = cluster.playbook("rolling_restart", "--limit", "n3", "-e", "riak_gate_down_patience=2", check=False)
        assert refused.code != 0
        assert "unreachable: riak@10.99.0.12" in refused.output
        now = starts(cluster, ["n1", "n3", "n4"])
        assert now["n1"] != before["n1"]
        assert (now["n3"], now["n4"]) == (before["n3"], before["n4"])

        cluster.lab.start("n2")
        middle = starts(cluster)
        again = cluster.playbook("rolling_restart")
        after = starts(cluster)
        for name in RIAK:
            assert all(a != b for a, b in zip(middle[name], after[name], strict=True)), name
        print(f"rolling_restart of {len(RIAK)} nodes: {again.seconds:.0f} s")
    whole(traffic)
    assert kept.missing() == []
