"""A Riak CS for tests: the stand-in in a process of its own, or the real one that the environment names.

MILLRACE_RIAKCS_URL, MILLRACE_RIAKCS_ADMIN_URL, MILLRACE_RIAKCS_KEY and MILLRACE_RIAKCS_SECRET (of the admin) name a
real one: all four or none. Tests make users and buckets with names of their own there, and leave the users behind: Riak
CS cannot forget one.
"""

from __future__ import annotations

import base64
import contextlib
import email.utils
import hashlib
import hmac
import http.client
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.support.waiting import end

VARIABLES = ("MILLRACE_RIAKCS_URL", "MILLRACE_RIAKCS_ADMIN_URL", "MILLRACE_RIAKCS_KEY", "MILLRACE_RIAKCS_SECRET")
START_TIMEOUT_S = 120


class RiakCsFailed(Exception):
    """The upstream did not start, or refused what a test has to prepare."""


@dataclass(frozen=True)
class User:
    name: str
    key: str
    secret: str
    id: str
    """Canonical, of 64 digits: the owner in listings and ACLs."""
    email: str = ""


@dataclass(frozen=True)
class RiakCs:
    """Where the upstream is and its admin's credentials."""

    url: str
    admin_url: str
    key: str
    secret: str
    real: bool = False

    def create_user(self, name: str) -> User:
        """A user with a name of its own: `name` and a random end."""
        name = f"{name}-{secrets.token_hex(4)}"
        email_address = f"{name}@example.com"
        made = self.admin("POST", "/riak-cs/user", {"name": name, "email": email_address})
        return User(made["name"], made["key_id"], made["key_secret"], made["id"], email_address)

    def change_user(self, user: User, **changes: object) -> dict[str, Any]:
        """`status="disabled"`, `new_key_secret=True`: what an operator does behind the gateway's back."""
        return self.admin("PUT", f"/riak-cs/user/{user.key}", changes)

    def admin(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """One request at the admin port, signed as it wants: SigV2 with a Date header."""
        where = urlsplit(self.admin_url)
        data = b"" if body is None else json.dumps(body).encode()
        date, kind = email.utils.formatdate(usegmt=True), "application/json"
        text = f"{method}\n\n{kind}\n{date}\n{path}"
        digest = hmac.new(self.secret.encode(), text.encode(), hashlib.sha1).digest()
        headers = {
            "Date": date,
            "Content-Type": kind,
            "Accept": kind,
            "Authorization": f"AWS {self.key}:{base64.b64encode(digest).decode()}",
        }
        connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=30)
        try:
            connection.request(method, path, data, headers)
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        if answer.status >= 300:
            raise RiakCsFailed(f"{method} {self.admin_url}{path}: {answer.status} {text}")
        found: dict[str, Any] = json.loads(text) if text else {}
        return found


def real() -> RiakCs | None:
    """The real Riak CS that the environment names. Raises RiakCsFailed when it names a part of one."""
    values = [os.environ.get(name, "") for name in VARIABLES]
    if not any(values):
        return None
    if missing := [name for name, value in zip(VARIABLES, values, strict=True) if not value]:
        raise RiakCsFailed(f"a real Riak CS needs {', '.join(missing)} as well")
    url, admin_url, key, secret = values
    return RiakCs(url.rstrip("/"), admin_url.rstrip("/"), key, secret, real=True)


@contextlib.contextmanager
def standin(folder: Path) -> Iterator[RiakCs]:
    """The stand-in as a process, its data below `folder`."""
    ports = [word for name in ("kv", "pb", "cs", "admin", "stanchion") for word in (f"--{name}-port", "0")]
    log = folder / "standin.log"
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "tests.hosts.standin", *ports, "--folder", str(folder / "data")]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=Path(__file__).parents[2]
        )
    try:
        said = _said(process, log)
        yield RiakCs(said["S3"], said["admin"], said["key"], said["secret"])
    finally:
        end(process)


def _said(process: subprocess.Popen[bytes], log: Path) -> dict[str, str]:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        lines = [line.split() for line in log.read_text(errors="replace").splitlines()]
        found = {line[0]: line[1] for line in lines if len(line) == 2}
        if {"S3", "admin", "key", "secret"} <= set(found):
            return found
        if process.poll() is not None:
            break
        time.sleep(0.05)
    raise RiakCsFailed(f"the stand-in did not start (exit code {process.poll()}):\n{log.read_text(errors='replace')}")


@contextlib.contextmanager
def upstream(folder: Path | None = None) -> Iterator[RiakCs]:
    """The real one if the environment names one, else the stand-in."""
    found = real()
    if found is not None:
        yield found
    elif folder is not None:
        with standin(folder) as started:
            yield started
    else:
        # Not in /tmp, which may be memory.
        scratch = tempfile.TemporaryDirectory(prefix="millrace-riakcs-", dir="/var/tmp")
        with scratch, standin(Path(scratch.name)) as started:
            yield started
