"""The balancer as the role renders it, run by the real haproxy: TLS, both front ends, checks, and what is kept from the
public. Only what needs the system's users and folders is left out of it."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import re
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.kit.conftest import ROOT
from tests.kit.test_families import Role
from tests.support.ports import free_port
from tests.support.power import cut_power

SILENCE_S = 4
NEEDS_THE_SYSTEM = re.compile(r"^ +(log /dev/log|user |group |chroot |stats socket ).*\n", re.MULTILINE)


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *_: Any) -> None:
        """A check is reset by haproxy as soon as it knows enough."""


@dataclass
class Node:
    """A server with its check on another port, as Riak CS and the gateways have it."""

    name: str
    ready: bool = True
    loses_power: bool = False
    """At the next request."""
    seen: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        node = self
        self.mended = threading.Event()

        class Service(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                node.seen.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
                if node.loses_power:
                    time.sleep(0.3)  # what was sent to it is acknowledged, and what it sent
                    cut_power(self.connection)
                    node.mended.wait(60)
                else:
                    self.answer(200, node.name)

            do_PUT = do_GET  # noqa: N815 - the name is http.server's

            def answer(self, status: int, text: str) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_: Any) -> None:
                pass

        class Check(Service):
            def do_GET(self) -> None:
                good = node.ready and self.path == "/readyz"
                self.answer(200 if good else 503, "")

        self.servers = [Server(("127.0.0.1", 0), kind) for kind in (Service, Check)]
        self.port, self.check_port = (server.server_port for server in self.servers)
        for server in self.servers:
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self.mended.set()
        for server in self.servers:
            server.shutdown()
            server.server_close()


def rendered(folder: Path, **more: Any) -> Path:
    role = Role("haproxy", "Debian", ansible_managed="by Ansible", **more)
    source = (ROOT / "roles/haproxy/templates/haproxy.cfg.j2").read_text()
    # In variables, which this is for Ansible here, backslashes count twice; in files they do not.
    text = str(role.value(source.replace("\\\\", "\\")))
    file = folder / "haproxy.cfg"
    file.write_text(NEEDS_THE_SYSTEM.sub("", text).replace("/etc/haproxy/tls/public.pem", str(folder / "public.pem")))
    return file


def certificate(folder: Path) -> None:
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-subj", "/CN=s3.test", "-addext", "subjectAltName=DNS:s3.test,IP:127.0.0.1", "-days", "2"]
    subprocess.run(
        [*command, "-keyout", folder / "key.pem", "-out", folder / "ca.pem"], check=True, capture_output=True
    )
    (folder / "public.pem").write_text((folder / "ca.pem").read_text() + (folder / "key.pem").read_text())


@dataclass
class Balancer:
    folder: Path
    s3: int
    blobs: int
    statistics: int

    @contextlib.contextmanager
    def link(self, port: int, tls: bool = True) -> Iterator[http.client.HTTPConnection]:
        context = ssl.create_default_context(cafile=str(self.folder / "ca.pem"))
        link: http.client.HTTPConnection
        link = (
            http.client.HTTPSConnection("127.0.0.1", port, timeout=60, context=context)
            if tls else http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        )  # fmt: skip
        try:
            yield link
        finally:
            link.close()

    def get(self, port: int, path: str, tls: bool = True) -> tuple[int, str]:
        with self.link(port, tls) as link:
            link.request("GET", path)
            answer = link.getresponse()
            return answer.status, answer.read().decode()

    def up(self) -> set[str]:
        """Servers that pass their check."""
        metrics = self.get(self.statistics, "/metrics", tls=False)[1]
        return set(re.findall(r'haproxy_server_check_status\{[^}]*server="(\w+)",state="L7OK"\} 1', metrics))

    def wait(self, condition: Any, what: str) -> None:
        end = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < end, what
            time.sleep(0.1)


@pytest.fixture
def nodes() -> Iterator[list[Node]]:
    nodes = [Node("one"), Node("two"), Node("blobs")]
    yield nodes
    for node in nodes:
        node.close()


@pytest.fixture
def balancer(tmp_path: Path, nodes: list[Node]) -> Iterator[Balancer]:
    program = shutil.which("haproxy", path="/usr/sbin:/usr/bin")
    assert program, "no haproxy: install the package haproxy"
    certificate(tmp_path)
    found = Balancer(tmp_path, free_port(), free_port(), free_port())
    servers = [{"name": node.name, "address": "127.0.0.1", "port": node.port} for node in nodes]
    # Each node has a check port of its own here, since all of them share an address.
    file = rendered(
        tmp_path, haproxy_bind_address="127.0.0.1", haproxy_s3_port=found.s3, haproxy_blob_port=found.blobs,
        haproxy_stats_port=found.statistics, haproxy_s3_servers=servers[:2], haproxy_blob_servers=servers[2:],
        haproxy_s3_check_path="/readyz", haproxy_s3_check_port=1, haproxy_s3_check_status="200",
        haproxy_blob_check_port=2, haproxy_check_interval_ms=200, haproxy_server_silence_s=SILENCE_S,
    )  # fmt: skip
    text = file.read_text()
    for node in nodes:
        text = re.sub(rf"(server {node.name} .* check port )\d+", rf"\g<1>{node.check_port}", text)
    file.write_text(text)
    subprocess.run([program, "-c", "-f", str(file)], check=True, capture_output=True, text=True)
    process = subprocess.Popen([program, "-db", "-f", str(file)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        found.wait(lambda: listens(found.statistics), "statistics")
        yield found
    finally:
        process.terminate()
        process.wait(60)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_it_serves_both_front_ends_by_tls_and_tells_the_servers_who_asked(
    balancer: Balancer, nodes: list[Node]
) -> None:
    assert {balancer.get(balancer.s3, "/bucket/key")[1] for _ in range(6)} == {"one", "two"}
    assert balancer.get(balancer.blobs, "/blobs/x") == (200, "blobs")
    path, headers = nodes[2].seen[-1]
    assert (path, headers["x-forwarded-proto"]) == ("/blobs/x", "https")
    assert headers["x-forwarded-for"] == "127.0.0.1"
    with pytest.raises(http.client.BadStatusLine):
        balancer.get(balancer.s3, "/", tls=False)


def test_old_tls_is_refused(balancer: Balancer) -> None:
    context = ssl.create_default_context(cafile=str(balancer.folder / "ca.pem"))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    with (
        socket.create_connection(("127.0.0.1", balancer.s3), 10) as raw,
        context.wrap_socket(raw, server_hostname="127.0.0.1") as secured,
    ):
        assert secured.version() in ("TLSv1.2", "TLSv1.3")
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{balancer.s3}", "-tls1_1"]
    done = subprocess.run(command, input="", capture_output=True, text=True, check=False)
    assert "Cipher is (NONE)" in done.stdout or done.returncode != 0


@pytest.mark.parametrize("path", ["/riak-cs/users", "/%72iak-cs/user", "//riak-cs/stats", "/RIAK-CS", "/riak-cs"])
def test_the_admin_of_riak_cs_is_not_for_the_public(balancer: Balancer, nodes: list[Node], path: str) -> None:
    assert balancer.get(balancer.s3, path)[0] == 403
    assert balancer.get(balancer.s3, "/riak-csv/key")[0] == 200
    assert [seen for node in nodes for seen, _ in node.seen] == ["/riak-csv/key"]


def test_a_server_whose_check_fails_gets_no_requests_until_it_passes(balancer: Balancer, nodes: list[Node]) -> None:
    def answers() -> set[str]:
        return {balancer.get(balancer.s3, "/bucket")[1] for _ in range(6)}

    nodes[0].ready = False
    balancer.wait(lambda: answers() == {"two"}, "only the other one is asked")
    nodes[1].ready = False
    balancer.wait(lambda: balancer.up() == {"blobs"}, "none of S3 is left")
    balancer.wait(lambda: answers() == {"one", "two"}, "their own answer is better than none")
    assert balancer.get(balancer.blobs, "/blobs/x")[0] == 200
    nodes[0].ready = True
    balancer.wait(lambda: answers() == {"one"}, "the sound one is asked alone")
    nodes[1].ready = True
    balancer.wait(lambda: answers() == {"one", "two"}, "both are asked again")


def told(balancer: Balancer, method: str) -> str:
    try:
        with balancer.link(balancer.s3) as link:
            link.request(method, "/bucket/key", b"x" * 8_000_000 if method == "PUT" else None)
            return str(link.getresponse().status)
    except (ConnectionError, ssl.SSLEOFError):  # in the middle of the body, or before the answer
        return "the connection ends"


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_who_waits_for_a_server_that_lost_its_power_is_told_soon(
    balancer: Balancer, nodes: list[Node], method: str
) -> None:
    """GET: the request was acknowledged, and the answer is waited for. PUT: some of the body is not acknowledged."""
    for node in nodes[:2]:
        node.loses_power = True
    began = time.monotonic()
    assert told(balancer, method) in ("502", "the connection ends")
    assert time.monotonic() - began < SILENCE_S + 20  # on a busy machine


def test_statistics_are_for_people_and_for_prometheus(balancer: Balancer) -> None:
    assert "Statistics Report" in balancer.get(balancer.statistics, "/stats", tls=False)[1]
    metrics = balancer.get(balancer.statistics, "/metrics", tls=False)[1]
    rules = (ROOT / "roles/monitoring/files/rules/millrace.yml").read_text()
    boards = "".join(path.read_text() for path in (ROOT / "roles/monitoring/files/dashboards").glob("*.json"))
    used = set(re.findall(r"\bhaproxy_[a-z_]+", rules + boards))
    assert len(used) >= 4
    exported = set(re.findall(r"^# TYPE (\S+)", metrics, re.MULTILINE))
    assert used - exported == set(), "an alert or a panel names what haproxy does not tell"


@pytest.mark.parametrize("statistics", ["10.0.0.1", "fd00::1"])
@pytest.mark.parametrize("tls", [True, False])
def test_other_forms_are_taken_by_haproxy(tmp_path: Path, statistics: str, tls: bool) -> None:
    certificate(tmp_path)
    servers = [
        {"name": "near", "address": "fd00::2", "port": 8480, "tls": True, "check_tls": True},
        {"name": "far", "address": "10.0.0.2", "port": 8480, "backup": True},
    ]
    file = rendered(
        tmp_path, haproxy_s3_servers=servers, haproxy_blob_servers=servers, haproxy_tls_enabled=tls,
        haproxy_stats_address=statistics, haproxy_server_ca_file=str(tmp_path / "ca.pem"), haproxy_s3_check_port=8471,
    )  # fmt: skip
    done = subprocess.run(["/usr/sbin/haproxy", "-c", "-f", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    warnings = [line for line in done.stderr.splitlines() if "[WARNING]" in line]
    assert [line for line in warnings if "no log address" not in line] == []
