"""Clients that write, overwrite, delete and read through any gateway, each with keys of its own."""

from __future__ import annotations

import hashlib
import random
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from tests.chaos.ledger import ABSENT, Ledger, Violation
from tests.chaos.s3_client import NO_ANSWER, S3, Keys

_TRIES = 3


class Client:
    """One thread's work: its operations are drawn from a seed, one after the other."""

    def __init__(
        self, number: int, seed: int, urls: Sequence[str], user: Keys, bucket: str, keys: int, ledger: Ledger
    ) -> None:
        self._rng = random.Random(f"{seed}/{number}")
        self._gateways = [S3(url, user) for url in urls]
        self._bucket = bucket
        self._number = number
        self._keys = keys
        self._ledger = ledger

    def run(self, stopped: threading.Event, pace_s: float) -> None:
        due = time.monotonic()
        while not stopped.is_set():
            self.step()
            due = max(due + pace_s, time.monotonic() - 5 * pace_s)
            stopped.wait(max(0.0, due - time.monotonic()))
        self.close()

    def fill(self) -> None:
        """Every key once, each until it is acknowledged: before the faults begin. Raises AssertionError."""
        for number in range(self._keys):
            key = f"{self._number:02}/{number:05}"
            assert any(self.put(key) for _ in range(5)), f"{key} could not be written, and there are no faults yet"

    def close(self) -> None:
        for gateway in self._gateways:
            gateway.close()

    def step(self) -> None:
        rng = self._rng
        key = f"{self._number:02}/{rng.randrange(self._keys):05}"
        dice = rng.random()
        if dice < 0.6:
            self.put(key)
        elif dice < 0.8:
            self.delete(key)
        else:
            self.read(key)

    def put(self, key: str) -> bool:
        body = self._rng.randbytes(self._size())
        version = hashlib.md5(body).hexdigest()
        return self._change(key, version, lambda s3: s3.ask("PUT", self._bucket, key, body=body)[0], 200)

    def delete(self, key: str) -> bool:
        return self._change(key, ABSENT, lambda s3: s3.ask("DELETE", self._bucket, key)[0], 204)

    def read(self, key: str) -> None:
        try:
            status, body = self._rng.choice(self._gateways).ask("GET", self._bucket, key)
        except NO_ANSWER:
            self._ledger.counts["reads without an answer"] += 1
            return
        if status == 200:
            self._ledger.read(key, hashlib.md5(body).hexdigest())
        elif status == 404:
            self._ledger.read(key, ABSENT)
        elif status < 500:
            self._ledger.violations.append(Violation(key, f"GET was answered {status}: {body[:200]!r}"))

    def _size(self) -> int:
        dice = self._rng.random()
        if dice < 0.96:
            return self._rng.randrange(1, 9_000)
        return self._rng.randrange(100_000, 2_000_000) if dice < 0.995 else self._rng.randrange(5 << 20, 7 << 20)

    def _change(self, key: str, version: str, send: Callable[[S3], int], wanted: int) -> bool:
        """Whether it was acknowledged. After the first failure another gateway is asked, as clients do."""
        self._ledger.began(key, version)
        for attempt in range(self._rng.randint(1, _TRIES)):
            try:
                status = send(self._rng.choice(self._gateways))
            except NO_ANSWER:
                status = 0
            if status == wanted:
                # What an earlier try began may still happen, even after later operations.
                self._ledger.acknowledged(key, version, sure=attempt == 0)
                return True
            if 400 <= status < 500:
                self._ledger.violations.append(Violation(key, f"a change was answered {status}"))
            self._ledger.refused(key, version)
        return False


def fill(clients: Sequence[Client]) -> None:
    """All keys of all clients, side by side."""
    with ThreadPoolExecutor(len(clients)) as pool:
        for done in [pool.submit(client.fill) for client in clients]:
            done.result()


def run_clients(clients: Sequence[Client], stopped: threading.Event, pace_s: float) -> list[threading.Thread]:
    threads = [threading.Thread(target=client.run, args=(stopped, pace_s)) for client in clients]
    for thread in threads:
        thread.start()
    return threads
