"""site.yml: from bare machines to a cluster, and once more."""

from tests.hosts.cluster import Cluster


def test_it_converges(cluster: Cluster) -> None:
    assert cluster.ring() == {cluster.lab.address(name): "valid" for name in ("n1", "n2", "n3", "n4")}
