"""backup.yml, restore.yml, rotate_credentials.yml, and teardown.yml at the end: the tests follow on each other on one
cluster."""

import contextlib
import json
import re
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from botocore.exceptions import ClientError

from tests.hosts.cluster import ETCD, RIAK, Cluster
from tests.hosts.lifecycle import Kept, data_bytes, starts, users_traffic, whole


@pytest.fixture(scope="module")
def kept(cluster: Cluster) -> Kept:
    kept = Kept(cluster, "kept-backup", count=20)
    kept.write()
    return kept


@contextlib.contextmanager
def admin(cluster: Cluster, keys: dict[str, str]) -> Iterator[None]:
    """Whether these keys of the admin are taken; raises ClientError when not."""
    from tests.hosts.traffic import client

    s3 = client(cluster.s3_url, keys["access_key"], keys["secret_key"], cluster.ca_file)
    with cluster.lab.network(), contextlib.closing(s3):
        s3.list_buckets()
        yield


def admin_keys(cluster: Cluster) -> dict[str, str]:
    return json.loads((cluster.credentials_dir / "admin.json").read_text())


def test_a_backup_interrupts_nobody(cluster: Cluster, kept: Kept) -> None:
    with cluster.traffic("backup") as traffic:
        run = cluster.playbook("backup")
        print(f"backup of five hosts: {run.seconds:.0f} s")
    whole(traffic)
    for name in RIAK:
        assert cluster.sudo(name, "ls /var/backups/millrace/*/riak-data.tar.gz")


SAME_END = ("--skip-tags", "controlplane,haproxy,monitoring")
"""What two of them end with is the end of site.yml, whose check mode is tested with it. upgrade begins with backup."""
DRY_RUNS = {
    "rolling_restart": ("n1",),
    "upgrade": ("n1,n5",),
    "add_node": ("n1,n4", "-e", "new_nodes=n4", *SAME_END),
    "remove_node": ("n4", "-e", "node=n4"),
    "replace_node": ("n1,n3,n4", "-e", "old=n3", "-e", "new=n4", *SAME_END),
    "restore": ("n1,n5", "-e", "restore_confirm=lab"),
    "rotate_credentials": ("n1,n4", "-e", "rotate=admin"),
    "rotate_credentials ": ("n1", "-e", "rotate=cookie", "-e", "confirm_outage=yes"),
    "teardown": ("n1,n5", "-e", "teardown_confirm=lab"),
}
"""On the fewest hosts that have a part in every play; the others would only say the same."""


def test_check_mode_changes_nothing_and_does_not_fail(cluster: Cluster, kept: Kept) -> None:
    def state() -> tuple[object, ...]:
        files = "find /etc/riak /etc/riak-cs /var/backups /usr/sbin/riak* -type f | sort | xargs sha256sum"
        with ThreadPoolExecutor() as pool:
            seen = list(pool.map(lambda name: (cluster.sudo(name, files), starts(cluster, [name])), RIAK))
        return seen, cluster.ring(), admin_keys(cluster)

    before = state()
    for playbook, (hosts, *words) in DRY_RUNS.items():
        cluster.playbook(playbook.strip(), "--check", "--limit", hosts, *words)
        assert state() == before, playbook


def test_the_admins_secret_is_renewed_while_the_cluster_runs(cluster: Cluster, kept: Kept) -> None:
    """Gateways look up S3 clients as the admin. Until they have its new secret they say "later" (503): never that a
    client is denied, never that something is not there."""
    old = admin_keys(cluster)
    running = starts(cluster)
    with users_traffic(cluster, "rotate") as traffic:
        run = cluster.playbook("rotate_credentials", "-e", "rotate=admin")
        print(f"rotate_credentials of the admin: {run.seconds:.0f} s")
        traffic.wait_for(20)
        meanwhile = list(traffic.counts.failures)
        traffic.wait_for(60)
    assert traffic.counts.failures == meanwhile, "it goes on after the playbook has ended"
    # botocore reads no document where the answer came instead of 100 Continue
    assert [line for line in meanwhile if not re.search(r"ServiceUnavailable|occurred \(\)|[Tt]imeout", line)] == []
    assert starts(cluster) == running
    new = admin_keys(cluster)
    assert new["access_key"] == old["access_key"]
    assert new["secret_key"] != old["secret_key"]
    assert oct((cluster.credentials_dir / "admin.json").stat().st_mode)[-3:] == "600"
    with (
        admin(cluster, new),
        pytest.raises(ClientError, match=r"SignatureDoesNotMatch|AccessDenied"),
        admin(cluster, old),
    ):
        pass
    assert kept.missing(["n1"]) == []


def test_the_cookie_is_renewed_in_a_confirmed_outage(cluster: Cluster, kept: Kept) -> None:
    refused = cluster.playbook("rotate_credentials", "-e", "rotate=cookie", check=False)
    assert refused.code != 0
    assert "confirm_outage=yes" in refused.output
    cookie = secrets.token_hex(20)
    (cluster.credentials_dir / "riak_cookie").write_text(f"{cookie}\n")
    run = cluster.playbook("rotate_credentials", "-e", "rotate=cookie", "-e", "confirm_outage=yes")
    print(f"rotate_credentials of the cookie: {run.seconds:.0f} s")
    for name in RIAK:
        assert cluster.sudo(
            name, "grep -h ^distributed_cookie /etc/riak/riak.conf /etc/riak-cs/riak-cs.conf"
        ) == "\n".join([f"distributed_cookie = {cookie}"] * 2)
    assert kept.missing() == []


def test_a_lost_disk_comes_back_from_the_backup(cluster: Cluster, kept: Kept) -> None:
    """With its data only: cookie and admin's secret, which were renewed since, stay what they are."""
    cluster.sudo("n2", "systemctl stop riak-cs riak; rm -rf /var/lib/riak/bitcask /var/lib/riak/leveldb")
    cluster.sudo("n2", "systemctl start riak riak-cs")
    assert data_bytes(cluster, "n2") < 100_000
    with cluster.traffic("restore") as traffic:
        run = cluster.playbook("restore", "-e", "restore_confirm=lab", "--limit", "n2")
        print(f"restore of one node: {run.seconds:.0f} s")
    whole(traffic)
    assert data_bytes(cluster, "n2") > 1_000_000
    assert kept.missing() == []


def test_etcd_alone_goes_back_on_all_members(cluster: Cluster, kept: Kept) -> None:
    key, running = "/written-after-the-backup", starts(cluster)
    etcdctl(cluster, "n1", "put", key, "x")
    assert etcdctl(cluster, "n3", "get", "--print-value-only", key) == "x"
    words = ("-e", "restore_confirm=lab", "-e", "restore_parts=etcd")
    refused = cluster.playbook("restore", *words, "--limit", "n1,n2", check=False)
    assert refused.code != 0
    assert "can only be restored together" in " ".join(refused.output.split())
    assert refused.changed == 0
    run = cluster.playbook("restore", *words)
    print(f"restore of etcd: {run.seconds:.0f} s")
    assert [etcdctl(cluster, name, "get", "--print-value-only", key) for name in ETCD] == [""] * 3
    assert etcdctl(cluster, "n2", "get", "--prefix", "--keys-only", "--limit=1", "/millrace/").startswith("/millrace/")
    assert starts(cluster) == running
    assert kept.missing(["n1"]) == []


def etcdctl(cluster: Cluster, name: str, *words: str) -> str:
    """As root of etcd, at the member of this host."""
    password = (cluster.credentials_dir / "etcd_root_password").read_text().strip()
    where = f"--cacert /etc/etcd/pki/client-ca.pem --endpoints https://{cluster.lab.address(name)}:2379"
    return cluster.sudo(name, f"ETCDCTL_API=3 ETCDCTL_USER=root:{password} etcdctl {where} {' '.join(words)}")


def test_the_whole_cluster_goes_back_to_the_backup(cluster: Cluster, kept: Kept) -> None:
    keys = sorted(kept.bodies)
    kept.put(keys[0], b"overwritten after the backup")
    kept.delete(keys[1])
    kept.put("written-after-the-backup", b"and lost by the restore")
    assert kept.missing(["n1"])
    for words in ((), ("-e", "restore_confirm=lab", "--limit", "n1,n2")):
        refused = cluster.playbook("restore", *words, check=False)
        assert refused.code != 0
        assert "Nothing was changed." in refused.output
        assert refused.changed == 0
    renewed = admin_keys(cluster)
    run = cluster.playbook("restore", "-e", "restore_confirm=lab")
    print(f"restore of the whole cluster: {run.seconds:.0f} s")
    assert admin_keys(cluster)["secret_key"] != renewed["secret_key"], "the backup has the secret from before"
    assert kept.missing() == []


def test_teardown_takes_only_what_was_named(cluster: Cluster, kept: Kept) -> None:
    for words in ((), ("-e", "teardown_confirm=example")):
        refused = cluster.playbook("teardown", *words, check=False)
        assert refused.code != 0
        assert "Nothing was changed." in refused.output
    assert kept.missing(["n1"]) == []
    run = cluster.playbook("teardown", "-e", "teardown_confirm=lab")
    print(f"teardown: {run.seconds:.0f} s")
    for name in RIAK:
        assert not cluster.host(name).file("/usr/sbin/riak").exists
        assert not cluster.host(name).socket("tcp://8098").is_listening
        assert data_bytes(cluster, name) > 1_000_000, "the data was not to go"
    cluster.playbook("teardown", "-e", "teardown_confirm=lab", "-e", "teardown_data=true", "--limit", "n1")
    assert [name for name in RIAK if cluster.host(name).file("/var/lib/riak").exists] == ["n2", "n3", "n4"]
