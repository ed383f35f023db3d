"""What the tests of a cluster's life share: inventories with other members, objects that must stay, and node starts."""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.hosts.cluster import RIAK, Cluster
from tests.hosts.control_node import INVENTORY
from tests.hosts.traffic import Traffic, client


def inventory(folder: Path, members: Sequence[str]) -> Path:
    """inventories/lab with these hosts, in this order, in the groups riak and riak_cs."""
    data = yaml.safe_load((INVENTORY / "hosts.yml").read_text())
    for group in ("riak", "riak_cs"):
        data["all"]["children"][group]["hosts"] = {name: {} for name in members}
    place = folder / f"inventory-{'-'.join(members)}"
    place.mkdir(parents=True, exist_ok=True)
    (place / "hosts.yml").write_text(yaml.safe_dump(data, sort_keys=False))
    link = place / "group_vars"
    if not link.is_symlink():
        link.symlink_to(INVENTORY / "group_vars")
    return place


class Kept:
    """Objects that are written once. `missing` reads every one of them through one node after the other."""

    def __init__(self, cluster: Cluster, bucket: str, count: int = 40, seed: int = 1) -> None:
        self.cluster, self.bucket = cluster, bucket
        source = random.Random(f"{bucket}{seed}")
        self.bodies = {f"kept-{n:03}": source.randbytes(source.choice((10, 5_000, 1_200_000))) for n in range(count)}

    def write(self) -> None:
        with self.cluster.lab.network(), contextlib.closing(self.cluster.s3()) as s3:
            s3.create_bucket(Bucket=self.bucket)
            for key, body in self.bodies.items():
                s3.put_object(Bucket=self.bucket, Key=key, Body=body)

    def put(self, key: str, body: bytes) -> None:
        with self.cluster.lab.network(), contextlib.closing(self.cluster.s3()) as s3:
            s3.put_object(Bucket=self.bucket, Key=key, Body=body)

    def delete(self, key: str) -> None:
        with self.cluster.lab.network(), contextlib.closing(self.cluster.s3()) as s3:
            s3.delete_object(Bucket=self.bucket, Key=key)

    def missing(self, nodes: Sequence[str] = RIAK) -> list[str]:
        """What a node does not give back as it was written, or lists though it was never written."""
        found = []
        for node in nodes:
            url = f"http://{self.cluster.lab.address(node)}:8080"
            with self.cluster.lab.network(), contextlib.closing(self.cluster.s3(url)) as s3:
                found += [f"{node}: {words}" for words in _differences(s3, self.bucket, self.bodies)]
        return found


def _differences(s3: Any, bucket: str, bodies: dict[str, bytes]) -> Iterator[str]:
    listed = {row["Key"] for row in s3.list_objects(Bucket=bucket).get("Contents", [])}
    yield from (f"{key} is listed wrongly" for key in sorted(listed ^ bodies.keys()))
    for key in sorted(listed & bodies.keys()):
        with s3.get_object(Bucket=bucket, Key=key)["Body"] as stream:
            if stream.read() != bodies[key]:
                yield f"{key} has other bytes"


@contextlib.contextmanager
def users_traffic(cluster: Cluster, bucket: str) -> Iterator[Traffic]:
    """Traffic of a user that is not the admin."""
    keys = json.loads((cluster.credentials_dir / "millrace.json").read_text())
    s3 = client(cluster.s3_url, keys["access_key"], keys["secret_key"], cluster.ca_file)
    with contextlib.closing(s3), Traffic(cluster.lab, s3, bucket) as traffic:
        traffic.wait_for(10)
        yield traffic


def starts(cluster: Cluster, names: Sequence[str] = RIAK) -> dict[str, tuple[str, ...]]:
    """What changes with every start of Riak and of Riak CS on a host."""
    command = "systemctl show --property=InvocationID --value riak riak-cs"
    return {name: tuple(cluster.sudo(name, command).split()) for name in names}


def shares(cluster: Cluster, seen_from: str) -> dict[str, float]:
    """Percent of the ring by host."""
    found = {}
    for line in cluster.sudo(seen_from, "riak admin member-status").splitlines():
        words = line.split()
        if len(words) == 4 and words[1].endswith("%"):
            found[f"n{int(words[3].rsplit('.', 1)[1].rstrip(chr(39))) - 10}"] = float(words[1].rstrip("%"))
    return found


def data_bytes(cluster: Cluster, name: str) -> int:
    """Of the blocks on a host. Not of leveldb, which makes its files larger than what is in them."""
    command = "cat $(find /var/lib/riak/bitcask -type f 2>/dev/null) /dev/null | wc -c"
    return int(cluster.sudo(name, command))


def whole(traffic: Traffic) -> None:
    """Not one request failed after the client's retries."""
    assert traffic.counts.failures == []
    assert traffic.counts.requests > 50
