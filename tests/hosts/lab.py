"""Real systemd hosts for tests: starts, breaks and ends them by the script `hosts` beside this file."""

import contextlib
import ctypes
import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.hosts.last_will import LastWill

SCRIPT = Path(__file__).with_name("hosts")
SHARED = Path(os.environ.get("HOSTS_STATE", "/var/tmp/millrace-hosts"))
"""What all labs of one run have in common: the base image, apt's cache, layers."""
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")
"""Each process of pytest-xdist has a lab of its own; a single process has the one that `hosts` knows without it."""
STATE = SHARED / WORKER
PREFIX = os.environ.get("HOSTS_PREFIX", "mr") + WORKER
NETWORK = "10.99.0"
GATE = f"{NETWORK}.1"
"""This machine's address in the hosts' network."""
_CLONE_NEWNET = 0x40000000


class LabError(RuntimeError):
    """The script failed; its words are the message."""


class Lab:
    """Hosts n1 to n9. The base image stays in `shared` between runs; `down` ends the hosts and forgets their disks."""

    def __init__(self, state: Path = STATE, prefix: str = PREFIX, shared: Path = SHARED) -> None:
        self.state = state
        self.prefix = prefix
        self.shared = shared
        self.environment = os.environ | {
            "HOSTS_STATE": str(state),
            "HOSTS_PREFIX": prefix,
            "HOSTS_SHARED": str(shared),
        }
        self.will: LastWill | None = None
        """Of the tests that use the lab."""

    def _run(self, *words: str, timeout: float, check: bool = True) -> subprocess.CompletedProcess[str]:
        run = subprocess.run(
            [str(SCRIPT), *words],
            env=self.environment,
            timeout=timeout,
            text=True,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        if check and run.returncode:
            raise LabError(f"hosts {' '.join(words)}: {run.stderr.strip() or run.stdout.strip()}")
        return run

    @property
    def ssh_config(self) -> Path:
        return self.state / "ssh_config"

    @staticmethod
    def address(name: str) -> str:
        return f"{NETWORK}.{10 + int(name[1:])}"

    def up(self, count: int) -> list[str]:
        """Their names; from cold it takes minutes, since the base image is made."""
        self._run("up", str(count), timeout=900)
        return [f"n{number}" for number in range(1, count + 1)]

    @contextlib.contextmanager
    def with_will(self, *, ends_hosts: bool) -> Iterator[None]:
        """When this process is gone without having left this context, what it ran here ends, and the hosts too."""
        self.will = LastWill([str(SCRIPT), "down"] if ends_hosts else [], self.environment)
        yield
        self.will.revoke()
        self.will = None

    @contextlib.contextmanager
    def ends_with_us(self, process: int) -> Iterator[None]:
        """A process that must not go on when the tests are gone."""
        with self.will.names(process) if self.will else contextlib.nullcontext():
            yield

    def down(self) -> None:
        self._run("down", timeout=120)

    def save(self, layer: str) -> None:
        """Stops all hosts in order, keeps their disks as a layer, and starts them on it."""
        self._run("save", layer, timeout=300)

    def reset(self, layer: str = "") -> None:
        """Pulls all cords, throws away what the hosts wrote, and starts them on the layer, or from nothing."""
        self._run("reset", *([layer] if layer else []), timeout=300)

    def has(self, layer: str) -> bool:
        return self.layer(layer).is_dir()

    def layer(self, name: str) -> Path:
        return self.shared / "layers" / name

    def forget_layers(self, run: str) -> None:
        """Those of other runs of the tests than this one, once for all its labs."""
        stamp = self.shared / "run-of-layers"
        with self.alone("layers"):
            if not stamp.exists() or stamp.read_text() != run:
                shutil.rmtree(self.shared / "layers", ignore_errors=True)
                stamp.write_text(run)

    @contextlib.contextmanager
    def alone(self, what: str) -> Iterator[None]:
        """No other lab of this machine does it meanwhile."""
        self.shared.mkdir(parents=True, exist_ok=True)
        with (self.shared / f"{what}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def start(self, name: str) -> None:
        self._run("start", name, timeout=120)

    def stop(self, name: str) -> None:
        self._run("stop", name, timeout=120)

    def crash(self, name: str) -> None:
        """Pulls the power cord."""
        self._run("crash", name, timeout=60)

    def freeze(self, name: str) -> None:
        self._run("freeze", name, timeout=30)

    def thaw(self, name: str) -> None:
        self._run("thaw", name, timeout=30)

    def partition(self, name: str, *peers: str) -> None:
        """Cuts a host from its peers, or from all when none is named."""
        self._run("partition", name, *peers, timeout=30)

    def heal(self, name: str) -> None:
        self._run("heal", name, timeout=30)

    def sh(
        self, name: str, command: str, *, check: bool = True, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command on a host as `deploy`, who may sudo."""
        return self._run("sh", name, command, timeout=timeout, check=check)

    def ctl(
        self, command: Sequence[str], *, check: bool = True, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command on this machine where the hosts' addresses are reachable."""
        return self._run("ctl", *command, timeout=timeout, check=check)

    @contextlib.contextmanager
    def network(self) -> Iterator[None]:
        """What this thread opens and starts within, sockets and processes, is in the hosts' network."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        there = os.open(f"/run/netns/{self.prefix}-ctl", os.O_RDONLY)
        try:
            _enter(there)
            yield
        finally:
            _enter(home)
            os.close(there)
            os.close(home)

    def written(self, name: str) -> set[str]:
        """Every path that differs from the base and the layer of a host, removed ones too."""
        upper = self.state / "h" / name / "u"
        return {f"/{path.relative_to(upper)}" for path in upper.rglob("*") if path.is_symlink() or not path.is_dir()}

    def copy(self, name: str, *files: Path, to: str = "/tmp/") -> None:
        command = ["scp", "-q", "-F", str(self.ssh_config), *map(str, files), f"{name}:{to}"]
        subprocess.run(command, check=True, timeout=300, stdin=subprocess.DEVNULL)


def _enter(namespace: int) -> None:
    if ctypes.CDLL(None, use_errno=True).setns(namespace, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")
