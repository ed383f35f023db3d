"""Does what the schedule says, to processes, etcd, stores and disks."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Sequence

from tests.chaos.cluster import Cluster
from tests.chaos.proxy import Proxy, Way
from tests.chaos.schedule import Fault, Strike
from tests.support.etcd_cluster import EtcdFailed

_TARGET = {
    Fault.TARGET_CUT: Way.CUT, Fault.TARGET_500: Way.ERROR_500, Fault.TARGET_503: Way.ERROR_503,
    Fault.TARGET_TRUNCATED: Way.TRUNCATED, Fault.TARGET_SLOW: Way.SLOW,
}  # fmt: skip
_SOURCE = {
    Fault.SOURCE_CUT: Way.CUT, Fault.SOURCE_503: Way.ERROR_503, Fault.SOURCE_TRUNCATED: Way.TRUNCATED,
    Fault.SOURCE_SLOW: Way.SLOW,
}  # fmt: skip


class Nemesis:
    def __init__(self, cluster: Cluster, say: Callable[[str], None]) -> None:
        self._cluster = cluster
        self._say = say

    def run(self, strikes: Sequence[Strike], length_s: float) -> None:
        """To the end of the schedule, then everything is healed."""
        began = time.monotonic()
        moments = [(one.at_s, 1, one) for one in strikes] + [(one.at_s + one.for_s, 0, one) for one in strikes]
        for at_s, begins, strike in sorted(moments, key=lambda moment: moment[:2]):
            time.sleep(max(0.0, began + at_s - time.monotonic()))
            if begins:
                self._say(str(strike))
                self._cluster.counts[strike.fault.value] += 1
                self._strike(strike)
            else:
                self._heal(strike)
        time.sleep(max(0.0, began + length_s - time.monotonic()))
        self.end()

    def end(self) -> None:
        self._cluster.source.set_way(Way.PASS)
        self._cluster.target.set_way(Way.PASS)
        for at, pid in enumerate(self._cluster.etcd.pids):
            if pid is None:
                self._cluster.etcd.restart_member(at, wait=False)
            else:
                self._cluster.etcd.resume(at)
        self._cluster.etcd.wait_healthy()
        self._cluster.heal()

    def _strike(self, strike: Strike) -> None:
        node = self._cluster.nodes[strike.node]
        match strike.fault:
            case Fault.KILL_GATEWAY:
                node.kill("gateway")
            case Fault.KILL_AGENT:
                node.kill("agent")
            case Fault.PAUSE_GATEWAY | Fault.PAUSE_AGENT:
                self._signal(strike, signal.SIGSTOP)
            case Fault.KILL_ETCD:
                with contextlib.suppress(EtcdFailed):
                    self._cluster.etcd.stop_member(strike.node, signal.SIGKILL)
            case Fault.CUT_ETCD:
                self._each_etcd(self._cluster.etcd.pause)
            case Fault.FILL_DISK:
                if self._cluster.own_disks:
                    self._cluster.fill_disk(node)
            case _:
                proxy, way = self._way(strike.fault)
                proxy.set_way(way)

    def _heal(self, strike: Strike) -> None:
        node = self._cluster.nodes[strike.node]
        match strike.fault:
            case Fault.KILL_GATEWAY | Fault.KILL_AGENT:
                role = "gateway" if strike.fault is Fault.KILL_GATEWAY else "agent"
                if not self._cluster.is_running(node, role):
                    self._cluster.start(node, role)
            case Fault.PAUSE_GATEWAY | Fault.PAUSE_AGENT:
                self._signal(strike, signal.SIGCONT)
            case Fault.KILL_ETCD:
                if self._cluster.etcd.pids[strike.node] is None:
                    self._cluster.etcd.restart_member(strike.node, wait=False)
            case Fault.CUT_ETCD:
                self._each_etcd(self._cluster.etcd.resume)
            case Fault.FILL_DISK:
                self._cluster.free_disk(node)
            case _:
                self._way(strike.fault)[0].set_way(Way.PASS)

    def _signal(self, strike: Strike, number: signal.Signals) -> None:
        role = "gateway" if strike.fault is Fault.PAUSE_GATEWAY else "agent"
        node = self._cluster.nodes[strike.node]
        if self._cluster.is_running(node, role):
            node.processes[role].send_signal(number)

    def _each_etcd(self, call: Callable[[int], None]) -> None:
        for at in (0, 1):
            with contextlib.suppress(EtcdFailed):
                call(at)

    def _way(self, fault: Fault) -> tuple[Proxy, Way]:
        if fault in _TARGET:
            return self._cluster.target, _TARGET[fault]
        return self._cluster.source, _SOURCE[fault]
