"""verify.yml on a running cluster: silent when all is well, and otherwise every fault with its host, in one run."""

from __future__ import annotations

import re

from tests.hosts.cluster import Cluster, Run


def findings(run: Run) -> list[str]:
    said = re.search(
        r"The cluster is not as it should be \((\d+)\):((?:\s+- [^\n]+(?:\n +[^-\s][^\n]*)*)+)", run.output
    )
    assert said, run.output[-3000:]
    lines = [" ".join(line.split()).removeprefix("- ") for line in re.split(r"\n\s*(?=- )", "\n" + said[2].strip())]
    found = [line for line in lines if line]
    assert len(found) == int(said[1]), found
    return found


def test_a_sound_cluster_is_verified_and_left_as_it_was(cluster: Cluster) -> None:
    with cluster.lab.network():
        before = {bucket["Name"] for bucket in cluster.s3().list_buckets()["Buckets"]}
    cluster.playbook("verify")
    with cluster.lab.network():
        s3 = cluster.s3()
        after = {bucket["Name"] for bucket in s3.list_buckets()["Buckets"]}
        assert after - before <= {"millrace-probe"}
        assert "Contents" not in s3.list_objects(Bucket="millrace-probe")


def test_every_fault_is_named_with_its_host_in_one_run(cluster: Cluster) -> None:
    cluster.sudo("n5", "systemctl stop millrace-agent")
    cluster.sudo("n3", "riak-cs admin gc set-interval 900")
    try:
        run = cluster.playbook("verify", check=False)
    finally:
        cluster.sudo("n5", "systemctl start millrace-agent")
        cluster.sudo("n3", "riak-cs admin gc pause", check=False)
    assert run.code != 0
    found = findings(run)
    assert len(found) == 3, found
    for words in (
        r"^n3: collects garbage beside n1: run `riak-cs admin gc pause`",
        r"^n5: the agent does not answer \(.*\): look at millrace-agent\.service",
        r"^n5: its gateway is not published in etcd",
    ):
        assert any(re.search(words, line) for line in found), (words, found)


def test_blocks_in_the_wrong_backend_are_found_by_what_lies_on_the_disk(cluster: Cluster) -> None:
    """The files are what counts, not what the configuration says. Of three copies on four nodes, one of two has one."""
    # For systemd a dollar is written twice. A file comes into being at once, whole.
    copy = "cat /var/lib/riak/bitcask/*/* > /var/lib/riak/stray && mv /var/lib/riak/stray $$d/stray"
    script = f"d=$$(ls -d /var/lib/riak/leveldb/* | head -1); while sleep 1; do {copy}; done"
    hosts = ("n2", "n3")
    for name in hosts:
        cluster.sudo(name, f"systemd-run --quiet --unit=stray sh -c '{script}'")
        cluster.wait(lambda name=name: bool(cluster.sudo(name, "ls /var/lib/riak/leveldb/*/stray", check=False)), name)
    try:
        run = cluster.playbook("verify", check=False)
    finally:
        for name in hosts:
            cluster.sudo(name, "systemctl stop stray; rm -f /var/lib/riak/stray /var/lib/riak/leveldb/*/stray")
    assert run.code != 0
    for line in findings(run):
        assert re.match(r"n[23]: blocks land in be_default \(1 files\), not in be_blocks: compare riak\.conf", line), (
            line
        )
