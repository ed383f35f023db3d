"""make chaos: many seeds, for as long as one likes. A seed that fails is printed, and replays with SEEDS=<seed>."""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos.cluster import running
from tests.chaos.schedule import NODES, schedule
from tests.chaos.trial import trial


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seeds", default="", help="comma-separated; none: random ones until the time is over")
    parser.add_argument("--minutes", type=float, default=5.0, help="begin no further random seed after this")
    parser.add_argument("--length", type=float, default=60.0, help="seconds of faults in each seed")
    parser.add_argument("--keys", type=int, default=20_000, help="most objects at once")
    parser.add_argument("--rate", type=float, default=60.0, help="operations a second")
    parser.add_argument("--clients", type=int, default=8, help="writers beside one another")
    parser.add_argument("--every", type=float, default=2.0, help="seconds from one fault to the next, about")
    parser.add_argument(
        "--spare", type=int, choices=range(NODES), help="a node that is not killed, so that its memory can be watched"
    )
    parser.add_argument("--fill", action="store_true", help="write all keys before the faults begin")
    parser.add_argument(
        "--journal", choices=("sqlite", "riak_kv"), default="sqlite", help="each node's own, or one that all share"
    )
    parser.add_argument("--folder", type=Path, help="where logs and data stay; else a scratch folder")
    parser.add_argument("--show", action="store_true", help="only print the schedules")
    options = parser.parse_args()
    # Ended by a service manager or `kill`: what was started and mounted is taken away all the same.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    seeds = [int(seed) for seed in options.seeds.split(",") if seed]
    if options.show:
        for seed in seeds:
            print(f"seed {seed}", *schedule(seed, options.length, options.every, options.spare), sep="\n")
        return 0
    bad: list[int] = []
    until = time.monotonic() + 60 * options.minutes
    with tempfile.TemporaryDirectory(prefix="millrace-chaos-", dir="/var/tmp", ignore_cleanup_errors=True) as scratch:
        folder = options.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        with running(folder, seeds[0] if seeds else 0, options.journal) as cluster:
            if not cluster.own_disks:
                print("NOTE: file systems cannot be mounted here (root is needed): no disk is filled")
            while seeds or (not options.seeds and time.monotonic() < until):
                seed = seeds.pop(0) if seeds else random.randrange(1 << 31)
                print(f"seed {seed}", flush=True)
                verdict = trial(
                    cluster, folder, seed, length_s=options.length, keys=options.keys, rate=options.rate,
                    say=lambda line: print(f"  {line}", flush=True), writers=options.clients, filled=options.fill,
                    every_s=options.every, spared=options.spare,
                )  # fmt: skip
                print(verdict, flush=True)
                if not verdict.good:
                    bad.append(seed)
    if bad:
        print(f"BAD SEEDS {bad}: replay with make chaos JOURNAL={options.journal} SEEDS={','.join(map(str, bad))}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
