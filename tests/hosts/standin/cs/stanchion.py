"""Stanchion: the one place that decides about bucket names and e-mail addresses.

The node that runs it tells its address in KV. Nodes in mode auto take it over when nobody answers there; with the
default subnet (127.0.0.1) every host finds nobody at its own loopback address, which is why a kit must set the subnet.
"""

import http.client
import ipaddress
import json
import socket
import threading
from dataclasses import asdict
from itertools import pairwise
from typing import Any

from tests.hosts.standin.cs.answers import S3Error
from tests.hosts.standin.cs.kv_client import KvClient, KvDown
from tests.hosts.standin.cs.users import Bucket, Buckets, User, Users
from tests.hosts.standin.web.messages import Request, Response, not_found, page
from tests.hosts.standin.web.server import WebServer

SERVICE = "riak-cs-service"
_DENIED = b'{"error_tag":"g2QADWFjY2Vzc19kZW5pZWQ=","resource":"/stats"}'


def local_addresses() -> list[str]:
    """IPv4 addresses of this host, loopback first."""
    found = ["127.0.0.1"]
    try:
        names = socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)
        found += [str(entry[4][0]) for entry in names]
    except OSError:
        pass
    try:
        with open("/proc/net/fib_trie") as stream:
            lines = stream.read().split("\n")
        found += [a.split()[-1] for a, b in pairwise(lines) if "/32 host LOCAL" in b]
    except OSError:
        pass
    return list(dict.fromkeys(found))


class Stanchion:
    """`mode`, `port`, `subnet` and `netmask` are the settings of riak-cs.conf."""

    def __init__(self, values: dict[str, str], kv: KvClient, users: Users, buckets: Buckets) -> None:
        self.mode = values["stanchion_hosting_mode"]
        self._port = int(values["stanchion_port"])
        self._network = ipaddress.ip_network(
            f"{values['stanchion_subnet']}/{values['stanchion_netmask']}", strict=False
        )
        self._cookie = values["distributed_cookie"]
        self._kv, self._users, self._buckets = kv, users, buckets
        self._server: WebServer | None = None
        self._lock = threading.Lock()

    # -- hosting ------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Raises OSError when this node must host it and cannot."""
        if self.mode in ("riak_cs_with_stanchion", "stanchion_only") or (self.mode == "auto" and not self._alive()):
            self._host()

    def _host(self) -> None:
        with self._lock:
            if self._server is None:
                address = next((a for a in local_addresses() if ipaddress.ip_address(a) in self._network), None)
                if address is None:
                    raise OSError(f"no local address is in stanchion_subnet {self._network}")
                self._server = WebServer((address, self._port), self._serve, "Riak CS")
                self._server.start()
            host, port = self._server.server_address[:2]
        record, context = self._kv.read(SERVICE, "stanchion")
        if record != {"host": host, "port": port}:
            self._kv.write(SERVICE, "stanchion", {"host": host, "port": port}, context)

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop()

    def where(self) -> dict[str, Any] | None:
        record: dict[str, Any] | None = self._kv.read(SERVICE, "stanchion")[0]
        return record

    def _alive(self) -> bool:
        found = self.where()
        if found is None:
            return False
        try:
            connection = http.client.HTTPConnection(found["host"], found["port"], timeout=3)
            connection.request("GET", "/ping")
            alive = connection.getresponse().status == 200
            connection.close()
            return alive
        except OSError:
            return False

    # -- asking it ----------------------------------------------------------------------------------------------------

    def ask(self, action: str, arguments: dict[str, Any]) -> Any:
        """Raises S3Error with Stanchion's reason, or ServiceUnavailable when none can be reached."""
        if self._server is not None:
            return self._decide(action, arguments)
        for attempt in range(2):
            found = self.where()
            try:
                if found is None:
                    raise OSError("no stanchion is known")
                return self._post(found, action, arguments)
            except OSError:
                if self.mode != "auto" or attempt:
                    break
                try:
                    self._host()
                    return self._decide(action, arguments)
                except OSError:
                    break
        raise S3Error("ServiceUnavailable")

    def _post(self, found: dict[str, Any], action: str, arguments: dict[str, Any]) -> Any:
        connection = http.client.HTTPConnection(found["host"], found["port"], timeout=20)
        body = json.dumps(arguments)
        connection.request("POST", f"/standin/{action}", body, {"X-Standin-Cookie": self._cookie})
        answer = connection.getresponse()
        content = json.loads(answer.read())
        connection.close()
        if answer.status != 200:
            raise S3Error(content["code"])
        return content

    def _serve(self, request: Request) -> Response:
        match request.method, request.path:
            case (("GET" | "HEAD"), "/ping"):
                return Response(200, {"Content-Type": "text/html"}, b"OK")
            case "GET", "/stats":
                return Response(403, {}, _DENIED)
            case "GET", ("/buckets" | "/users"):
                return page(405, Allow="POST")
        if not request.path.startswith("/standin/") or request.header("x-standin-cookie") != self._cookie:
            return not_found()
        try:
            result = self._decide(request.path.removeprefix("/standin/"), json.loads(request.body()))
        except S3Error as error:
            return Response(error.status, {}, json.dumps({"code": error.code}).encode())
        return Response(200, {}, json.dumps(result).encode())

    # -- deciding -----------------------------------------------------------------------------------------------------

    def _decide(self, action: str, arguments: dict[str, Any]) -> Any:
        with self._lock:
            try:
                return getattr(self, f"_do_{action}")(**arguments)
            except KvDown:
                raise S3Error("ServiceUnavailable") from None

    def _do_create_bucket(self, bucket: dict[str, Any]) -> None:
        wanted = Bucket(**bucket)
        found = self._buckets.get(wanted.name, pr=3)
        if found is not None and found.owner != wanted.owner:
            raise S3Error("BucketAlreadyExists")
        if found is not None:
            wanted.created, wanted.versioning, wanted.policy = found.created, found.versioning, found.policy
        self._buckets.save(wanted)
        owner = self._users.get(wanted.owner)
        if owner is not None and found is None:
            owner.buckets = [*(b for b in owner.buckets if b["name"] != wanted.name)]
            owner.buckets.append({"name": wanted.name, "created": wanted.created})
            self._users.save(owner)

    def _do_update_bucket(self, bucket: dict[str, Any]) -> None:
        self._buckets.save(Bucket(**bucket))

    def _do_delete_bucket(self, name: str) -> None:
        found = self._buckets.get(name, pr=3)
        if found is None:
            raise S3Error("NoSuchBucket")
        self._buckets.delete(name)
        owner = self._users.get(found.owner)
        if owner is not None:
            owner.buckets = [b for b in owner.buckets if b["name"] != name]
            self._users.save(owner)

    def _do_create_user(self, user: dict[str, Any]) -> None:
        wanted = User(**user)
        if self._users.by_email(wanted.email) or any(u.name == wanted.name and wanted.name for u in self._users.all()):
            raise S3Error("UserAlreadyExists")
        self._users.save(wanted)

    def _do_update_user(self, user: dict[str, Any], old_email: str) -> None:
        wanted = User(**user)
        holder = self._users.by_email(wanted.email)
        if holder is not None and holder.key_id != wanted.key_id:
            raise S3Error("UserAlreadyExists")
        if old_email != wanted.email:
            self._users.release_email(old_email)
        self._users.save(wanted)

    def _do_delete_user(self, key_id: str) -> None:
        found = self._users.get(key_id)
        if found is None:
            raise S3Error("InvalidAccessKeyId")
        if found.buckets:
            raise S3Error("DeleteConflict")
        self._users.delete(found)


def packed(record: User | Bucket) -> dict[str, Any]:
    return asdict(record)
