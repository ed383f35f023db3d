"""The garbage collector of one CS node: deletes discarded blocks after the leeway, every interval."""

import threading
import time

from tests.hosts.standin.cs.answers import compact_date
from tests.hosts.standin.cs.kv_client import KvDown
from tests.hosts.standin.cs.objects import GC, Objects
from tests.hosts.standin.kv.backends import seconds


class Collector:
    """`interval` is None when it is infinity, that is, when this node collects nothing."""

    def __init__(self, objects: Objects, values: dict[str, str]) -> None:
        self._objects = objects
        interval = values["gc.interval"]
        self._configured = None if interval == "infinity" else seconds(interval)
        self.interval = self._configured
        self.leeway = seconds(values["gc.leeway_period"])
        self.last: float | None = None
        self._changed = threading.Event()
        self._stop = threading.Event()

    def start(self) -> None:
        threading.Thread(target=self._run, daemon=True, name="gc").start()

    def stop(self) -> None:
        self._stop.set()
        self._changed.set()

    def set_interval(self, interval: float | None) -> None:
        self.interval = interval
        self._changed.set()

    def resume(self) -> None:
        self.set_interval(self._configured or 900.0)

    def batch(self, leeway: float | None = None) -> int:
        self.last = time.time()
        return self._objects.collect(time.time() - (self.leeway if leeway is None else leeway))

    def _run(self) -> None:
        while not self._stop.is_set():
            if self._changed.wait(self.interval):
                self._changed.clear()
                continue
            try:
                self.batch()
            except KvDown:
                continue

    def status(self) -> str:
        following = "undefined"
        if self.interval is not None:
            following = compact_date(int(((self.last or time.time()) + self.interval) * 1000))
        last = "undefined" if self.last is None else compact_date(int(self.last * 1000))
        interval = "infinity (i.e. gc is disabled)" if self.interval is None else f"{self.interval:.0f}"
        return (
            "There is no garbage collection in progress\n"
            f"  The current garbage collection leeway time is: {self.leeway:.0f}\n"
            f"  Next run scheduled for: {following}\n  Last run started at: {last}\n"
            f"  The current garbage collection interval is: {interval}\nok\n"
        )

    def earliest_keys(self) -> str:
        moments = sorted({int(key.partition("_")[0]) for key, _ in self._objects.kv.records(GC)})
        lines = [f"{compact_date(moment * 1000)}: [1]" for moment in moments]
        return "\n".join(["GC keys in master:", *lines, f"[[{','.join('ok' for _ in lines)}]]"]) + "\nok\n"
