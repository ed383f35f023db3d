"""One seed: clients and nemesis at once, healing, and the verdict on both stores."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.clients import Client, fill, run_clients
from tests.chaos.cluster import Cluster
from tests.chaos.ledger import Ledger, Violation
from tests.chaos.memory import Memory
from tests.chaos.nemesis import Nemesis
from tests.chaos.s3_client import S3
from tests.chaos.schedule import schedule
from tests.support.s3_servers import ACCESS_KEY, SECRET_KEY

TARGET_BUCKET = "mirror"
READ_WHOLE = 400
"""So many copies are read and hashed, beside all whose ETag does not tell."""


@dataclass
class Verdict:
    seed: int
    violations: list[Violation]
    figures: dict[str, int] = field(default_factory=dict)
    witness: str = ""
    """What rclone check said, when it did not agree."""
    memory: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        return not self.violations and not self.witness

    def __str__(self) -> str:
        lines = [f"seed {self.seed}: {'good' if self.good else 'BAD'}"]
        lines += [f"  {name}: {count}" for name, count in sorted(self.figures.items())]
        lines += [f"  {line}" for line in self.memory]
        lines += [f"  VIOLATION {violation}" for violation in self.violations[:40]]
        if self.witness:
            lines.append(f"  rclone check: {self.witness}")
        return "\n".join(lines)


def trial(
    cluster: Cluster,
    folder: Path,
    seed: int,
    *,
    length_s: float,
    keys: int,
    rate: float,
    say: Callable[[str], None],
    writers: int = 8,
    filled: bool = False,
    every_s: float = 2.0,
    spared: int | None = None,
    look_s: float = 60.0,
) -> Verdict:
    """`keys`: most objects that there may be at once; `rate`: operations a second, all `writers` together.

    `filled`: all keys are written before the faults begin, so that these meet as many objects. `every_s`, `spared`:
    see schedule(). `look_s`: seconds between two looks at the processes' memory.
    """
    bucket = f"m-{seed}-{random.randrange(1 << 32):08x}"
    front = S3(cluster.urls[0], cluster.user)
    assert front.ask("PUT", bucket)[0] == 200
    front.close()
    cluster.counts.clear()
    puts_before = cluster.target.requests["PUT"]
    ledger = Ledger()
    clients = [
        Client(number, seed, cluster.urls, cluster.user, bucket, max(1, keys // writers), ledger)
        for number in range(writers)
    ]
    if filled:
        began = time.monotonic()
        fill(clients)
        say(f"{len(ledger.keys)} objects written in {time.monotonic() - began:.0f} s; now the faults")
    stopped = threading.Event()
    nemesis = Nemesis(cluster, say)
    memory = Memory(cluster, say, look_s)
    memory.start()
    threads = run_clients(clients, stopped, writers / rate)
    try:
        nemesis.run(schedule(seed, length_s, every_s, spared), length_s)
    finally:
        stopped.set()
        for thread in threads:
            thread.join()
    began = time.monotonic()
    cluster.settle()
    say(f"healed; the journals are empty after {time.monotonic() - began:.1f} s")
    violations = ledger.judge(*_held(cluster, bucket, seed), strict=False)
    doubtful = ledger.in_doubt
    if not violations:
        # Clients that got no answer do it again: now nothing may be in doubt, and both stores must be equal.
        for key in doubtful:
            client = clients[int(key[:2])]
            assert any(client.put(key) if int(key[3:]) % 2 else client.delete(key) for _ in range(5)), key
            ledger.settled(key)
        for client in clients:
            client.close()
        cluster.settle()
        violations = ledger.judge(*_held(cluster, bucket, seed), strict=True)
    figures = {
        **ledger.counts,
        **cluster.counts,
        "keys": len(ledger.keys),
        "keys in doubt before clients tried again": len(doubtful),
        "PUTs at the target": cluster.target.requests["PUT"] - puts_before,
    }
    witness = "" if violations else _witness(cluster, folder, bucket)
    return Verdict(seed, violations, figures, witness, memory.end())


def _held(cluster: Cluster, bucket: str, seed: int) -> tuple[dict[str, str], dict[str, str]]:
    """What both stores hold: MD5 by key. ETags, and the bytes where an ETag is none, and of a sample."""
    source, target = cluster.at_source, cluster.at_target
    at_source = source.list(bucket)
    prefix = f"{bucket}/"
    at_target = {key.removeprefix(prefix): etag for key, etag in target.list(TARGET_BUCKET, prefix).items()}
    sample = set(random.Random(seed).sample(sorted(at_target), min(READ_WHOLE, len(at_target))))
    for key, etag in at_target.items():
        if "-" in etag or key in sample:
            status, body = target.ask("GET", TARGET_BUCKET, prefix + key)
            md5 = hashlib.md5(body).hexdigest()
            at_target[key] = md5 if status == 200 else f"status {status}"
    source.close()
    target.close()
    return at_source, at_target


def _witness(cluster: Cluster, folder: Path, bucket: str) -> str:
    """Empty when `rclone check` finds both sides equal."""
    config = folder / "rclone.conf"
    remotes = {
        # Through the S3 front: rclone cannot read the times in Riak CS's own listings.
        "source": (cluster.urls[0], cluster.user.access, cluster.user.secret, 2),
        "target": (cluster.seaweedfs.url, ACCESS_KEY, SECRET_KEY, 2),
    }
    config.write_text(
        "\n".join(
            f"[{name}]\ntype = s3\nprovider = Other\nendpoint = {url}\naccess_key_id = {key}\n"
            f"secret_access_key = {secret}\nregion = us-east-1\nlist_version = {version}\nforce_path_style = true\n"
            for name, (url, key, secret, version) in remotes.items()
        )
    )
    command = [
        "rclone", "--config", str(config), "check", f"source:{bucket}", f"target:{TARGET_BUCKET}/{bucket}",
        "--retries", "1",
    ]  # fmt: skip
    # Credentials and certificates of this machine are not meant for these servers.
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "RCLONE_"))}
    said = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environ)
    return "" if said.returncode == 0 else said.stderr[-3000:]
