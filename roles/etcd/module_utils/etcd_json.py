"""A little of etcd's JSON gateway: enough for members, users and roles. Standard library only."""

from __future__ import annotations

import base64
import json
import ssl
import urllib.error
import urllib.request

TIMEOUT_S = 10.0


class EtcdUnreachable(Exception):
    """None of the endpoints answered."""


class EtcdRefused(Exception):
    """etcd answered with an error; the text is etcd's own."""


def encode(key: str) -> str:
    return base64.b64encode(key.encode()).decode()


def end_of_prefix(prefix: str) -> str:
    """The first key after all keys that begin with `prefix`, encoded; for an empty one: no end."""
    raw = prefix.encode()
    while raw and raw[-1] == 0xFF:
        raw = raw[:-1]
    return base64.b64encode(raw[:-1] + bytes([raw[-1] + 1]) if raw else b"\0").decode()


class EtcdClient:
    """Speaks to the first endpoint that answers, and stays there."""

    def __init__(self, endpoints: list[str], ca_file: str = "", cert_file: str = "", key_file: str = "") -> None:
        self._endpoints = list(endpoints)
        self._token = ""
        self._context = None
        if ca_file:
            self._context = ssl.create_default_context(cafile=ca_file)
            if cert_file:
                self._context.load_cert_chain(cert_file, key_file)

    def call(self, method: str, **fields: object) -> dict:
        """The answer of `method`, such as `auth/user/add`. Raises EtcdRefused and EtcdUnreachable."""
        failures = []
        for endpoint in list(self._endpoints):
            try:
                answer = self._post(f"{endpoint}/v3/{method}", fields)
            except EtcdRefused:
                raise
            except (OSError, ValueError) as error:
                failures.append(f"{endpoint}: {getattr(error, 'reason', error)}")
                continue
            self._endpoints = [endpoint]
            return answer
        raise EtcdUnreachable("; ".join(failures) or "no endpoint is given")

    def log_in(self, name: str, password: str) -> None:
        """From here on as this user. Raises as `call`."""
        self._token = ""
        self._token = self.call("auth/authenticate", name=name, password=password)["token"]

    def _post(self, url: str, fields: dict) -> dict:
        headers = {"Content-Type": "application/json"}
        if self._token:
            headers["Authorization"] = self._token
        request = urllib.request.Request(url, json.dumps(fields).encode(), headers, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S, context=self._context) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            raise EtcdRefused(_reason(error.read())) from error


def _reason(body: bytes) -> str:
    try:
        answer = json.loads(body)
        return str(answer.get("message") or answer.get("error") or answer)
    except (ValueError, AttributeError):
        return body.decode(errors="replace")[:500]
