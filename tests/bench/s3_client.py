"""CPU of the S3 store beside boto3's (and obstore's, where installed): GET, verify the MD5, PUT.

Run: python tests/bench/s3_client.py [--objects 4000] [--rounds 5]. Every client runs in a process of its own against
one sink server in another process; what counts is the client's CPU, user and system. Medians and ratios are printed.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import resource
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from hashlib import md5
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

CONCURRENCY = 16
LARGE = 64 * 1024 * 1024


def store_run(url: str, objects: int, size: int) -> None:
    import uvloop

    from controlplane.adapters.s3 import S3ObjectStore, S3Options
    from controlplane.adapters.system_clock import SystemClock
    from controlplane.model.keys import Key, StoreName

    async def main() -> None:
        options = S3Options((url,), "b", access_key="AK", secret_key="SK", part_bytes=LARGE, connections=CONCURRENCY)
        store = S3ObjectStore(StoreName("sink"), options, SystemClock(), Random(1))
        numbers = iter(range(objects))

        async def worker() -> None:
            for number in numbers:
                reader = await store.get(Key(f"{size}/{number}"))
                if size > 1024 * 1024:
                    await store.put(Key(f"copy/{number}"), aiter(reader), size=size)
                else:
                    data = b"".join([chunk async for chunk in reader])
                    if md5(data).hexdigest() != reader.info.etag:
                        raise AssertionError("the sink sent something else")
                    await store.put(Key(f"copy/{number}"), data)
                await reader.aclose()

        await asyncio.gather(*(worker() for _ in range(min(CONCURRENCY, objects))))
        await store.aclose()

    uvloop.run(main())


def boto3_run(url: str, objects: int, size: int) -> None:
    import boto3
    from botocore.config import Config

    client = boto3.client(
        "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id="AK", aws_secret_access_key="SK",
        config=Config(s3={"addressing_style": "path"}, request_checksum_calculation="when_required"),
    )  # fmt: skip
    for number in range(objects):
        answer = client.get_object(Bucket="b", Key=f"{size}/{number}")
        data = answer["Body"].read()
        if f'"{md5(data).hexdigest()}"' != answer["ETag"]:
            raise AssertionError("the sink sent something else")
        client.put_object(Bucket="b", Key=f"copy/{number}", Body=data)


def obstore_run(url: str, objects: int, size: int) -> None:
    import obstore
    from obstore.store import S3Store

    store = S3Store("b", endpoint=url, region="us-east-1", access_key_id="AK", secret_access_key="SK",
                    client_options={"allow_http": True})  # fmt: skip
    for number in range(objects):
        answer = obstore.get(store, f"{size}/{number}")
        data = bytes(answer.bytes())
        if md5(data).hexdigest() != str(answer.meta["e_tag"]).strip('"'):
            raise AssertionError("the sink sent something else")
        obstore.put(store, f"copy/{number}", data, use_multipart=False)


RUNS: dict[str, Callable[[str, int, int], None]] = {"store": store_run, "boto3": boto3_run, "obstore": obstore_run}


def measured(name: str, url: str, objects: int, size: int) -> None:
    RUNS[name](url, 2, min(size, 4096))
    before, start = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    RUNS[name](url, objects, size)
    after, wall = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter() - start
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(json.dumps({"cpu": cpu, "wall": wall, "rss_mb": after.ru_maxrss / 1024}))


def run(name: str, url: str, objects: int, size: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--run", name, url, str(objects), str(size)]
    result: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return result


def report(objects: int, rounds: int) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    sink = subprocess.Popen([sys.executable, str(Path(__file__).with_name("s3_sink.py")), str(port)])
    try:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            time.sleep(0.05)
        url = f"http://127.0.0.1:{port}"
        names = ["store", "boto3", *(["obstore"] if importlib.util.find_spec("obstore") else [])]
        small: dict[str, list[dict[str, float]]] = {name: [] for name in names}
        large: dict[str, list[dict[str, float]]] = {name: [] for name in names}
        for _ in range(rounds):
            for name in names:
                small[name].append(run(name, url, objects if name == "store" else objects // 10, 4096))
                large[name].append(run(name, url, 4, LARGE))
        header = ("client", "CPU-s per 1000 GET+PUT of 4 KiB", "pairs/s", "CPU-s per GB, 64 MiB", "RSS MB")
        print("{:8} {:>32} {:>8} {:>21} {:>7}".format(*header))
        costs: dict[str, float] = {}
        for name in names:
            count = objects if name == "store" else objects // 10
            costs[name] = statistics.median(turn["cpu"] for turn in small[name]) / count * 1000
            speed = count / statistics.median(turn["wall"] for turn in small[name])
            gigabyte = statistics.median(turn["cpu"] for turn in large[name]) / (4 * LARGE) * 1e9
            rss = max(turn["rss_mb"] for turn in large[name])
            print(f"{name:8} {costs[name]:32.3f} {speed:8.0f} {gigabyte:21.2f} {rss:7.0f}")
        for name in names[1:]:
            print(f"store : {name} = 1 : {costs[name] / costs['store']:.1f} (CPU of 4 KiB)")
    finally:
        sink.kill()
        sink.wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--run", nargs=4, metavar=("CLIENT", "URL", "OBJECTS", "SIZE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        measured(arguments.run[0], arguments.run[1], int(arguments.run[2]), int(arguments.run[3]))
    else:
        report(arguments.objects, arguments.rounds)
