"""The cluster of inventories/lab on the hosts of the lab: playbooks, S3, and what pytest-testinfra looks at."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import testinfra
from testinfra.host import Host

from tests.hosts import control_node
from tests.hosts.control_node import INVENTORY, ROOT
from tests.hosts.lab import Lab
from tests.hosts.last_will import end
from tests.hosts.packages import Packages
from tests.hosts.traffic import ATTEMPTS, Traffic, client

NAMES = ("n1", "n2", "n3", "n4", "n5")
RIAK = RIAK_CS = ("n1", "n2", "n3", "n4")
ETCD = ("n1", "n2", "n3")
GATEWAYS = ("n4", "n5")
BALANCER = "n5"
PATIENCE_S = 3000.0
"""With one playbook: against hangs, on a machine that is shared."""
SITE = "site"
"""The layer that site.yml has left."""
KEYS, FACTS = "credentials", "facts"
"""What the control node keeps of the cluster and what Ansible remembers of it, in its layer."""


@dataclass(frozen=True)
class Run:
    """A finished playbook."""

    code: int
    output: str
    seconds: float

    @property
    def recap(self) -> dict[str, dict[str, int]]:
        """Counts by host: ok, changed, unreachable, failed, skipped, rescued, ignored."""
        found = re.finditer(r"^(\S+) +: (ok=.*)$", self.output, re.MULTILINE)
        return {match[1]: {k: int(v) for k, v in re.findall(r"(\w+)=(\d+)", match[2])} for match in found}

    @property
    def changed(self) -> int:
        return sum(counts["changed"] for counts in self.recap.values())

    @property
    def changed_tasks(self) -> list[str]:
        """`task: host` of each change, in order."""
        found, task = [], ""
        for line in self.output.splitlines():
            if match := re.match(r"(?:TASK|RUNNING HANDLER) \[(.*)\]", line):
                task = match[1]
            elif match := re.match(r"changed: \[([^\]]+)\]", line):
                found.append(f"{task}: {match[1]}")
        return found


class Play:
    """A playbook that is running."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path, lab: Lab) -> None:
        self._process, self._log, self._started = process, log, time.monotonic()
        self._will = contextlib.ExitStack()
        self._will.enter_context(lab.ends_with_us(process.pid))

    @property
    def output(self) -> str:
        return self._log.read_text(errors="replace")

    def wait_for(self, pattern: str, timeout: float = 600) -> None:
        """Until the output matches. Fails when the playbook ends before."""
        end = time.monotonic() + timeout
        while not re.search(pattern, self.output, re.MULTILINE):
            if self._process.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"{pattern!r} did not come:\n{self.output[-4000:]}")
            time.sleep(0.1)

    def finish(self, timeout: float = PATIENCE_S) -> Run:
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the playbook did not end in {timeout} s:\n{self.output[-4000:]}") from None
        except BaseException:
            self.kill()  # the tests end before it: nobody would
            raise
        self._will.close()
        return Run(self._process.returncode, self.output, time.monotonic() - self._started)

    def kill(self) -> None:
        """As when the operator's machine goes down."""
        if self._process.poll() is None:
            end(self._process.pid)
        self._process.wait()
        self._will.close()


class Cluster:
    def __init__(self, lab: Lab, packages: Packages, scratch: Path) -> None:
        self.lab, self.packages, self._scratch, self._facts = lab, packages, scratch, scratch / "facts"
        scratch.mkdir(parents=True, exist_ok=True)
        (scratch / "cp").mkdir(exist_ok=True)

    # Playbooks

    def environment(self, packages: Packages | None = None, *, stock: bool = True) -> dict[str, str]:
        return {
            **self.lab.environment,
            **(packages or self.packages).environment,
            **control_node.environment(self._scratch, self._facts, stock=stock),
        }

    def start(
        self,
        playbook: str,
        *words: str,
        packages: Packages | None = None,
        inventory: Path = INVENTORY,
        stock: bool = True,
        **more: str,
    ) -> Play:
        """Starts playbooks/<playbook>.yml, which something may happen to; `more` is further environment."""
        number = len(list(self._scratch.glob("*.log"))) + 1
        log = self._scratch / f"{number:03}-{playbook}.log"
        command = ["ansible-playbook", "-i", str(inventory), str(ROOT / f"playbooks/{playbook}.yml"), *words]
        with log.open("wb") as out:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=self.environment(packages, stock=stock) | more,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return Play(process, log, self.lab)

    def playbook(
        self,
        playbook: str,
        *words: str,
        check: bool = True,
        timeout: float = PATIENCE_S,
        packages: Packages | None = None,
        inventory: Path = INVENTORY,
        **more: str,
    ) -> Run:
        """Runs it to its end; `check` wants success."""
        to_its_end = check or playbook == "verify"  # which judges last of all
        stock = not to_its_end or playbook not in control_node.LONG
        play = self.start(playbook, *words, packages=packages, inventory=inventory, stock=stock, **more)
        run = play.finish(timeout)
        print(f"\n{playbook} {' '.join(words)}: {run.seconds:.0f} s, changed={run.changed}, code {run.code}")
        if check and run.code:
            raise AssertionError(f"{playbook} failed:\n{_failure(run.output)}")
        return run

    # Hosts

    def host(self, name: str) -> Host:
        """What pytest-testinfra looks at, as root."""
        return testinfra.get_host(f"ssh://{name}", ssh_config=str(self.lab.ssh_config), sudo=True)

    def sudo(self, name: str, command: str, *, check: bool = True, timeout: float = 120) -> str:
        """Standard output of a shell command as root."""
        done = self.lab.sh(name, f"sudo sh -c {_quoted(command)}", check=check, timeout=timeout)
        return done.stdout.strip()

    def forget_facts(self) -> None:
        """What Ansible remembers of the hosts is not true any more."""
        for path in self._facts.glob("*"):
            path.unlink()

    def forget_keys(self) -> None:
        """What the control node keeps of a cluster that is gone."""
        shutil.rmtree(self.credentials_dir, ignore_errors=True)

    def reset(self, layer: str = SITE) -> None:
        """The hosts as site.yml has left them, or (layer "") as they were before; serving again when this returns."""
        self.lab.reset(layer)
        self.forget_facts()
        self.forget_keys()
        if layer:
            shutil.copytree(self.lab.layer(layer) / KEYS, self.credentials_dir)
            shutil.copytree(self.lab.layer(layer) / FACTS, self._facts, dirs_exist_ok=True)
            self.wait_until_serving()

    def save(self, layer: str = SITE) -> None:
        """The hosts and the keys to them: a test may renew these, and the next one starts from what was saved."""
        self.lab.save(layer)
        shutil.copytree(self.credentials_dir, self.lab.layer(layer) / KEYS)
        shutil.copytree(self._facts, self.lab.layer(layer) / FACTS)
        self.wait_until_serving()

    def ring(self, name: str = "n1") -> dict[str, str]:
        """Status of each member by its address, as a node sees it."""
        lines = self.sudo(name, "riak admin member-status", check=False).splitlines()
        found = (re.match(r"\s*(valid|leaving|exiting|joining|down)\s.*?riak@([\d.]+)", line) for line in lines)
        return {match[2]: match[1] for match in found if match}

    # S3

    @property
    def credentials_dir(self) -> Path:
        return self.lab.state / "credentials"

    @property
    def ca_file(self) -> Path:
        """The authority that signed what haproxy shows."""
        return self.credentials_dir / "haproxy/ca.pem"

    @property
    def s3_url(self) -> str:
        return f"https://{self.lab.address(BALANCER)}"

    @property
    def blob_url(self) -> str:
        return f"https://{self.lab.address(BALANCER)}:8443"

    @property
    def token(self) -> str:
        return (self.credentials_dir / "token_operator").read_text().strip()

    def s3(self, url: str | None = None, attempts: int = ATTEMPTS) -> Any:
        """A boto3 client of the admin, through haproxy unless another URL is given; use it within lab.network()."""
        admin = json.loads((self.credentials_dir / "admin.json").read_text())
        return client(url or self.s3_url, admin["access_key"], admin["secret_key"], self.ca_file, attempts)

    @contextlib.contextmanager
    def traffic(self, bucket: str = "traffic") -> Iterator[Traffic]:
        """Reads and writes through haproxy meanwhile; the counts are printed, and are the caller's to judge."""
        with contextlib.closing(self.s3()) as s3, Traffic(self.lab, s3, bucket) as traffic:
            traffic.wait_for(10)
            yield traffic

    @property
    def patience_s(self) -> float:
        """With services that start: eight real Erlang nodes at once take minutes of two CPUs."""
        return 900 if self.packages.real else 180

    def wait_until_serving(self) -> None:
        """Until every Riak node is up in the ring, and every Riak CS node, haproxy and gateway answers."""
        timeout = self.patience_s
        pings = [f"http://{self.lab.address(name)}:8098/ping" for name in RIAK]
        pings += [f"http://{self.lab.address(name)}:8000/riak-cs/ping" for name in RIAK_CS]
        pings += [f"http://{self.lab.address(name)}:{port}/readyz" for name in GATEWAYS for port in (8471, 8472)]
        pings += [f"http://{self.lab.address(BALANCER)}:8404/stats"]
        for url in pings:
            self.wait(lambda url=url: self.status(url) == 200, f"200 from {url}", timeout)
        self.wait(self._round_trip, "an object through haproxy", timeout)

    def status(self, url: str) -> int:
        """HTTP status; 0 when there is no answer."""
        command = ["curl", "-s", "-m", "5", "-o", "/dev/null", "-w", "%{http_code}", url]
        with self.lab.network():
            done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        return int(done.stdout or 0)

    def wait(self, condition: Callable[[], bool], what: str, timeout: float = 60) -> None:
        end = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > end:
                raise AssertionError(f"{what}: not within {timeout} s")
            time.sleep(0.3)

    def _round_trip(self) -> bool:
        from botocore.exceptions import BotoCoreError, ClientError

        with self.lab.network(), contextlib.closing(self.s3(attempts=1)) as s3:
            try:
                s3.create_bucket(Bucket="lab-ready")
                s3.put_object(Bucket="lab-ready", Key="ready", Body=b"ready")
                with s3.get_object(Bucket="lab-ready", Key="ready")["Body"] as body:
                    return bool(body.read() == b"ready")
            except (BotoCoreError, ClientError):
                return False


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def _failure(output: str) -> str:
    """From the first failed task on."""
    found = re.search(r"^(fatal|failed|ERROR|\[ERROR\]).*", output, re.MULTILINE)
    return output[max(found.start() - 500, 0) : found.start() + 6000] if found else output[-6000:]
