"""Real etcd clusters on loopback, whose members tests stop, kill, pause and restart."""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
import os
import shutil
import signal
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.support.ports import free_ports

START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 60.0


class EtcdFailed(RuntimeError):
    """etcd is not installed, did not start, or did not answer."""


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority made for one test, with a certificate for 127.0.0.1 as server and client."""

    ca_file: Path
    cert_file: Path
    key_file: Path

    @classmethod
    def make(cls, folder: Path, name: str = "test", *, common_name: bool = False) -> Self:
        """Without a common name: etcd's JSON gateway refuses clients that have one while users are on."""
        ca_key = ec.generate_private_key(ec.SECP256R1())
        ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{name} authority")])
        ca_key_id = x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key())
        ca = (
            _certificate(ca_name, ca_name, ca_key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(signs=True), critical=True)
            .add_extension(ca_key_id, critical=False)
            .sign(ca_key, hashes.SHA256())
        )
        key = ec.generate_private_key(ec.SECP256R1())
        kind = NameOID.COMMON_NAME if common_name else NameOID.ORGANIZATION_NAME
        subject = x509.Name([x509.NameAttribute(kind, f"{name} node")])
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        alternatives = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]
        certificate = (
            _certificate(subject, ca_name, key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ca_key_id), critical=False)
            .sign(ca_key, hashes.SHA256())
        )
        folder.mkdir(parents=True, exist_ok=True)
        made = cls(folder / f"{name}-ca.pem", folder / f"{name}.pem", folder / f"{name}-key.pem")
        made.ca_file.write_bytes(ca.public_bytes(serialization.Encoding.PEM))
        made.cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        made.key_file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        made.key_file.chmod(0o600)
        return made


def _certificate(subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey) -> Any:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
    )


def _key_usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


class EtcdCluster:
    """etcd processes with data in a temporary directory. Use as a context manager, or start() and close().

    `tls`: clients must bring a certificate of `authority`. `auth`: a root user whose password is given, and a user
    "millrace" with the same password who may read and write /millrace/ only; simple tokens that live `token_ttl_s`.
    """

    def __init__(
        self,
        members: int = 3,
        *,
        tls: bool = False,
        auth: str = "",
        common_name: bool = False,
        enable_v2: bool = False,
        folder: Path | None = None,
        token_ttl_s: int = 300,
        extra_arguments: Sequence[str] = (),
    ) -> None:
        self._binary = shutil.which("etcd") or ""
        if not self._binary:
            raise EtcdFailed("no etcd program: install the package etcd-server (apt-get install etcd-server)")
        self._own_folder = folder is None
        self.folder = Path(tempfile.mkdtemp(prefix="millrace-etcd-")) if folder is None else folder
        self._password = auth
        self._auth_is_on = False
        self._options = [
            "--auth-token-ttl",
            str(token_ttl_s),
            *(["--enable-v2"] if enable_v2 else []),
            *extra_arguments,
        ]
        self.authority = Authority.make(self.folder / "tls", common_name=common_name) if tls else None
        self._scheme = "https" if tls else "http"
        self._client_ports: list[int] = []
        self._peer_ports: list[int] = []
        self._count = members
        self._processes: list[subprocess.Popen[bytes] | None] = [None] * members

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def urls(self) -> tuple[str, ...]:
        """The members' client URLs, in order."""
        return tuple(f"{self._scheme}://127.0.0.1:{port}" for port in self._client_ports)

    @property
    def pids(self) -> tuple[int | None, ...]:
        return tuple(None if process is None else process.pid for process in self._processes)

    def start(self) -> None:
        """Returns when every member answers, with authentication on if it was asked for."""
        ports = free_ports(2 * self._count)
        self._client_ports, self._peer_ports = ports[: self._count], ports[self._count :]
        try:
            for at in range(self._count):
                self._spawn(at)
            self.wait_healthy()
            if self._password:
                self.enable_auth(self._password)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End every member, whatever its state, and remove the data."""
        for at, process in enumerate(self._processes):
            if process is not None:
                process.kill()
                process.wait(STOP_TIMEOUT_S)
                self._processes[at] = None
        if self._own_folder:
            shutil.rmtree(self.folder, ignore_errors=True)

    def stop_member(self, at: int, sig: signal.Signals = signal.SIGTERM) -> None:
        """End a member by a signal; it is gone when this returns."""
        process = self._running(at)
        process.send_signal(sig)
        if sig == signal.SIGTERM:
            process.send_signal(signal.SIGCONT)
        process.wait(STOP_TIMEOUT_S)
        self._processes[at] = None

    def pause(self, at: int) -> None:
        """A member that keeps its connections and says nothing."""
        self._running(at).send_signal(signal.SIGSTOP)

    def resume(self, at: int) -> None:
        self._running(at).send_signal(signal.SIGCONT)

    def restart_member(self, at: int, *, wait: bool = True) -> None:
        """Start a stopped member again, on its old data and ports."""
        if self._processes[at] is not None:
            self.stop_member(at)
        self._spawn(at)
        if wait:
            self.wait_healthy([at])

    def wipe(self, at: int) -> None:
        """Remove a stopped member's data."""
        if self._processes[at] is not None:
            raise EtcdFailed(f"etcd member {at} still runs: stop it first")
        shutil.rmtree(self.folder / f"member{at}")

    def start_anew(self) -> None:
        """All members on empty data and the same ports, with the same users: as after a restore from a snapshot, the
        log of what was done begins anew."""
        for at in range(self._count):
            if self._processes[at] is not None:
                self.stop_member(at, signal.SIGKILL)
            self.wipe(at)
        self._auth_is_on = False
        for at in range(self._count):
            self._spawn(at)
        self.wait_healthy()
        if self._password:
            self.enable_auth(self._password)

    def wait_healthy(self, members: Sequence[int] | None = None, timeout_s: float = START_TIMEOUT_S) -> None:
        """Until those members (all by default) answer a quorum read."""
        deadline = time.monotonic() + timeout_s
        for at in range(self._count) if members is None else members:
            while True:
                process = self._running(at)
                if process.poll() is not None:
                    raise EtcdFailed(f"etcd member {at} ended with {process.returncode}:\n{self.log(at)}")
                try:
                    if json.loads(self._http(at, "/health")).get("health") == "true":
                        break
                except (OSError, ValueError, EtcdFailed):
                    pass
                if time.monotonic() > deadline:
                    raise EtcdFailed(f"etcd member {at} is not healthy after {timeout_s:g} s:\n{self.log(at)}")
                time.sleep(0.05)

    def call(self, path: str, body: dict[str, Any], at: int = 0) -> dict[str, Any]:
        """One v3 request as root, straight to a member: what an operator would do with etcdctl."""
        fields = json.loads(self._http(at, path, body))
        assert isinstance(fields, dict)
        return fields

    def enable_auth(self, password: str) -> None:
        """Make the users (see the class), and turn authentication on."""
        for user in ("root", "millrace"):
            self.call("/v3/auth/user/add", {"name": user, "password": password})
            self.call("/v3/auth/role/add", {"name": user})
            self.call("/v3/auth/user/grant", {"user": user, "role": user})
        everything = {"permType": "READWRITE", "key": _b64("/millrace/"), "range_end": _b64("/millrace0")}
        self.call("/v3/auth/role/grant", {"name": "millrace", "perm": everything})
        self.call("/v3/auth/enable", {})
        self._password = password
        self._auth_is_on = True

    def put(self, key: str, value: str | bytes, at: int = 0) -> None:
        self.call("/v3/kv/put", {"key": _b64(key), "value": _b64(value)}, at)

    def delete(self, key: str, at: int = 0) -> None:
        self.call("/v3/kv/deleterange", {"key": _b64(key)}, at)

    def get(self, key: str, at: int = 0) -> bytes:
        (kv,) = self.call("/v3/kv/range", {"key": _b64(key)}, at)["kvs"]
        return b64decode(kv["value"])

    def leases(self, at: int = 0) -> list[int]:
        return [int(lease["ID"]) for lease in self.call("/v3/lease/leases", {}, at).get("leases", [])]

    def revision(self, at: int = 0) -> int:
        return int(self.call("/v3/kv/range", {"key": _b64("x")}, at)["header"]["revision"])

    def compact(self, at: int = 0) -> None:
        self.call("/v3/kv/compaction", {"revision": str(self.revision(at)), "physical": True}, at)

    def leader(self) -> int:
        """The member that leads."""
        for at in range(self._count):
            status = self.call("/v3/maintenance/status", {}, at)
            if status["header"]["member_id"] == status.get("leader"):
                return at
        raise EtcdFailed("no etcd member leads")

    def log(self, at: int) -> str:
        """The end of a member's output."""
        return (self.folder / f"member{at}.log").read_text(errors="replace")[-4000:]

    def _running(self, at: int) -> subprocess.Popen[bytes]:
        process = self._processes[at]
        if process is None:
            raise EtcdFailed(f"etcd member {at} does not run")
        return process

    def _spawn(self, at: int) -> None:
        peers = [f"http://127.0.0.1:{port}" for port in self._peer_ports]
        command = [
            self._binary,
            *("--name", f"member{at}"),
            *("--data-dir", str(self.folder / f"member{at}")),
            *("--listen-client-urls", self.urls[at]),
            *("--advertise-client-urls", self.urls[at]),
            *("--listen-peer-urls", peers[at]),
            *("--initial-advertise-peer-urls", peers[at]),
            *("--initial-cluster", ",".join(f"member{i}={peer}" for i, peer in enumerate(peers))),
            *("--heartbeat-interval", "50", "--election-timeout", "500"),
            *("--logger", "zap", "--log-level", "warn"),
            *self._options,
        ]
        if self.authority is not None:
            tls = self.authority
            command += ["--cert-file", str(tls.cert_file), "--key-file", str(tls.key_file)]
            command += ["--client-cert-auth", "--trusted-ca-file", str(tls.ca_file)]
        self.folder.mkdir(parents=True, exist_ok=True)
        # etcd reads options from the environment too: those of this machine's own etcd must not leak in.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ETCD_")}
        with (self.folder / f"member{at}.log").open("ab") as log:
            self._processes[at] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True
            )

    def _http(self, at: int, path: str, body: dict[str, Any] | None = None) -> bytes:
        data = None if body is None else json.dumps(body).encode()
        headers = {}
        if self._auth_is_on and data is not None:
            login = json.dumps({"name": "root", "password": self._password}).encode()
            headers["Authorization"] = json.loads(self._send(at, "/v3/auth/authenticate", login, {}))["token"]
        return self._send(at, path, data, headers)

    def _send(self, at: int, path: str, data: bytes | None, headers: dict[str, str]) -> bytes:
        context = None
        if self.authority is not None:
            context = ssl.create_default_context(cafile=self.authority.ca_file)
            context.load_cert_chain(self.authority.cert_file, self.authority.key_file)
        request = urllib.request.Request(self.urls[at] + path, data, headers)
        # No proxy, whatever the environment says: this is loopback.
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        try:
            with opener.open(request, timeout=15) as response:
                answer = response.read()
        except urllib.error.HTTPError as error:
            with error:
                raise EtcdFailed(f"etcd member {at}: {path}: {error.read().decode(errors='replace')}") from error
        assert isinstance(answer, bytes)
        return answer


def _b64(data: str | bytes) -> str:
    return b64encode(data.encode() if isinstance(data, str) else data).decode()
