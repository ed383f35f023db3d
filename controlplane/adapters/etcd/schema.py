"""The keys and values in etcd (docs/decisions/0002-etcd-key-schema.md). Changing them breaks every reader out there."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable

from controlplane.model.endpoints import Endpoint
from controlplane.ports.directory import ENDPOINTS, require_name, require_part

ROOT = "/millrace/v1"

_MOST_VALUE_LOGGED = 200

_log = logging.getLogger(__name__)


class Unparsable(ValueError):
    """A value that is not an endpoint of this schema."""


class KeySchema:
    """Keys of one cluster. Raises Rejected for names that cannot be keys."""

    __slots__ = ("root",)

    def __init__(self, cluster: str) -> None:
        self.root = f"{ROOT}/{require_part(cluster, 'the cluster name')}/"

    def name(self, name: str) -> str:
        return self.root + require_name(name)

    def endpoints(self, service: str) -> str:
        """The prefix of a service's endpoints, with its slash."""
        return f"{self.root}{ENDPOINTS}/{require_part(service, 'a service name')}/"

    def endpoint(self, endpoint: Endpoint) -> str:
        return self.endpoints(endpoint.service) + require_part(endpoint.node, "a node name")


def write_endpoint(endpoint: Endpoint) -> str:
    """The JSON value; equal endpoints give equal texts. Service and node are in the key."""
    fields = {"url": endpoint.url, "zone": endpoint.zone, "version": endpoint.version, "weight": endpoint.weight}
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":"))


def read_endpoint(service: str, node: str, value: bytes) -> Endpoint:
    """Raises Unparsable. Fields that this version does not know are ignored, so that newer writers can add some."""
    try:
        fields = json.loads(value.decode())
    except (ValueError, RecursionError) as error:
        raise Unparsable("not JSON") from error
    if not isinstance(fields, dict):
        raise Unparsable("not a JSON object")
    url, zone, version = fields.get("url"), fields.get("zone", ""), fields.get("version", "")
    weight = fields.get("weight", 100)
    if not isinstance(url, str) or not url:
        raise Unparsable("no url")
    if not isinstance(zone, str) or not isinstance(version, str):
        raise Unparsable("zone or version is not a text")
    if not isinstance(weight, int) or isinstance(weight, bool) or weight < 0:
        raise Unparsable("weight is not a whole number")
    return Endpoint(service, node, url, zone, version, weight)


def endpoint_at(service: str, prefix: str, key: bytes, value: bytes) -> Endpoint | None:
    """The endpoint in a key under `prefix`; None, with a line in the log, when something else lies there."""
    try:
        node = key.decode().removeprefix(prefix)
        if not node or "/" in node:
            raise Unparsable("the key has not exactly one part after the service")
        return read_endpoint(service, node, value)
    except ValueError as error:
        shown = value[:_MOST_VALUE_LOGGED]
        _log.warning(
            "ignored %r under %s in etcd: %s (value %r): remove or correct that key", key, prefix, error, shown
        )
        return None


def by_node(endpoints: Iterable[Endpoint]) -> tuple[Endpoint, ...]:
    return tuple(sorted(endpoints, key=lambda endpoint: endpoint.node))
