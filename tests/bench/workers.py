"""The S3 front with one process and with two: signed GETs of 4 KiB before the same upstream, by turns.

wrk, the upstream and the gateway share the machine: with fewer CPUs than processes two workers cannot be twice as fast.
"""

from __future__ import annotations

import os
import statistics
import sys
from pathlib import Path

from tests.bench.processes import running
from tests.bench.riak_cs_sink import ADMIN_KEY, ADMIN_SECRET
from tests.bench.s3_front import Place, wrk
from tests.bench.table import Row
from tests.support import s3_gateway
from tests.support.ports import free_port
from tests.support.riak_cs import RiakCs


def one_and_two(folder: Path, rounds: int, seconds: int) -> list[Row]:
    """Requests a second, and CPU for each, the supervisor's included."""
    port = free_port()
    rates: dict[int, list[float]] = {1: [], 2: []}
    costs: dict[int, list[float]] = {1: [], 2: []}
    with running([sys.executable, "-m", "tests.bench.riak_cs_sink", str(port)], port):
        url = f"http://127.0.0.1:{port}"
        store = RiakCs(url, url, ADMIN_KEY, ADMIN_SECRET)

        def measure(place: Place, number: int, *, counts: bool) -> None:
            cpu, rate = wrk(folder, "GET", place, seconds)
            if counts:  # the first one imports and connects
                costs[number].append(cpu)
                rates[number].append(rate)

        def settings(number: int) -> dict[str, dict[str, object]]:
            return {"log": {"access": False}, "gateway": {"workers": number}}

        with (
            s3_gateway.running(folder / "one", store, extra=settings(1)) as one,
            s3_gateway.running(folder / "two", store, extra=settings(2), name="gateway2") as two,
        ):
            found = {
                number: Place(int(gateway.url.rpartition(":")[2]), gateway.node.processes["gateway"].pid)
                for number, gateway in ((1, one), (2, two))
            }
            for turn in range(rounds + 1):
                for number in (1, 2) if turn % 2 else (2, 1):
                    measure(found[number], number, counts=turn > 0)
    speed = {number: statistics.median(values) for number, values in rates.items()}
    cost = {number: statistics.median(values) for number, values in costs.items()}
    per_second, us = "{:,.0f} requests/s".format, "{:.0f} us CPU/request".format
    return [
        Row(f"signed GET 4 KiB, --workers 2 on {os.cpu_count()} CPUs; --workers 1", per_second(speed[2]),
            per_second(speed[1]), speed[2] / speed[1]),
        Row("  CPU of all processes of the gateway", us(cost[2] * 1e6), us(cost[1] * 1e6), cost[2] / cost[1]),
    ]  # fmt: skip
