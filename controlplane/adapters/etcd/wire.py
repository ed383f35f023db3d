"""The JSON of etcd's gRPC gateway, without I/O: base64 bytes, 64-bit integers as texts, fields left out when zero.

Source: etcd api/etcdserverpb/rpc.proto and grpc-gateway v1, as in etcd 3.4 and 3.5.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeAlias

Json: TypeAlias = dict[str, Any]

MOST_LINE_BYTES = 16 * 1024 * 1024


class Nonsense(ValueError):
    """An answer that etcd does not give: something else answers, or it is broken."""


@dataclass(frozen=True, slots=True)
class KeyValue:
    key: bytes
    value: bytes
    create_revision: int
    mod_revision: int
    lease: int
    """0: none."""


@dataclass(frozen=True, slots=True)
class Event:
    kv: KeyValue
    deleted: bool


class Failure(Enum):
    """What an error answer of a member means for the request."""

    REFUSED = "refused"
    """The cluster said no, and any other member would: the request was not applied."""
    DENIED = "denied"
    """Credentials or permissions: not applied, and a retry cannot help."""
    STALE_TOKEN = "stale token"  # noqa: S105 - the name of a state
    """Not applied; authenticate and send it again."""
    NOT_APPLIED = "not applied"
    """This member cannot serve now; another may."""
    FULL = "full"
    """Not applied: etcd's database has reached its quota."""
    UNKNOWN = "unknown"
    """It may have been applied, or may still be."""


def encode(data: str | bytes) -> str:
    return b64encode(data.encode() if isinstance(data, str) else data).decode()


def prefix_end(prefix: str) -> bytes:
    """The first key after all that begin with `prefix`."""
    data = prefix.encode().rstrip(b"\xff")
    return data[:-1] + bytes([data[-1] + 1])


def integer(fields: Json, name: str) -> int:
    """An int64 field; absent means 0. Raises Nonsense."""
    raw = fields.get(name, 0)
    if not isinstance(raw, (int, str)):
        raise Nonsense(f"{name} is not a number")
    try:
        return int(raw)
    except ValueError as error:
        raise Nonsense(f"{name} is not a number") from error


def member(fields: Json, name: str) -> Json:
    """An object field; absent means empty. Raises Nonsense."""
    inner = fields.get(name, {})
    if not isinstance(inner, dict):
        raise Nonsense(f"{name} is not an object")
    return inner


def members(fields: Json, name: str) -> list[Json]:
    """A list of objects; absent means empty. Raises Nonsense."""
    inner = fields.get(name, [])
    if not isinstance(inner, list) or not all(isinstance(one, dict) for one in inner):
        raise Nonsense(f"{name} is not a list of objects")
    return inner


def text(fields: Json, name: str) -> str:
    inner = fields.get(name, "")
    return inner if isinstance(inner, str) else repr(inner)


def _bytes(fields: Json, name: str) -> bytes:
    try:
        return b64decode(fields.get(name, ""), validate=True)
    except (ValueError, TypeError) as error:
        raise Nonsense(f"{name} is not base64") from error


def read_kv(fields: Json) -> KeyValue:
    """Raises Nonsense."""
    revisions = integer(fields, "create_revision"), integer(fields, "mod_revision")
    return KeyValue(_bytes(fields, "key"), _bytes(fields, "value"), *revisions, integer(fields, "lease"))


def read_kvs(fields: Json) -> list[KeyValue]:
    return [read_kv(one) for one in members(fields, "kvs")]


def read_events(fields: Json) -> list[Event]:
    return [Event(read_kv(member(one, "kv")), text(one, "type") == "DELETE") for one in members(fields, "events")]


def revision_of(fields: Json) -> int:
    """The store's revision in an answer's header."""
    return integer(member(fields, "header"), "revision")


def parse(data: bytes | bytearray) -> Json:
    """Raises Nonsense."""
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Nonsense("the answer is not JSON") from error
    if not isinstance(fields, dict):
        raise Nonsense("the answer is not a JSON object")
    return fields


def read_error(fields: Json) -> tuple[int, str]:
    """The gRPC code and message of an error answer, of a call or within a stream."""
    inner = fields.get("error")
    if isinstance(inner, dict):
        fields = inner
    code = fields.get("grpc_code", fields.get("code", 2))
    message = text(fields, "message") or text(fields, "error") or "no message"
    return (code if isinstance(code, int) else 2), message[:500]


_PERMISSION_DENIED, _RESOURCE_EXHAUSTED, _UNAVAILABLE, _UNAUTHENTICATED = 7, 8, 14, 16
_INVALID_ARGUMENT, _FAILED_PRECONDITION, _NOT_FOUND, _OUT_OF_RANGE = 3, 9, 5, 11

_STALE_TOKEN = ("invalid auth token", "user name is empty", "revision of auth store is old", "user name not found")


def judge(code: int, message: str) -> Failure:
    """What the gRPC error `code` with `message` means (source: etcd api/v3rpc/rpctypes/error.go)."""
    if code == _UNAUTHENTICATED or any(stale in message for stale in _STALE_TOKEN):
        return Failure.STALE_TOKEN
    if code == _PERMISSION_DENIED:
        return Failure.DENIED
    if code == _RESOURCE_EXHAUSTED:
        return Failure.FULL if "space exceeded" in message else Failure.NOT_APPLIED
    if code == _UNAVAILABLE and "no leader" in message:
        return Failure.NOT_APPLIED
    if code in {_INVALID_ARGUMENT, _FAILED_PRECONDITION, _NOT_FOUND, _OUT_OF_RANGE}:
        return Failure.REFUSED
    return Failure.UNKNOWN


class LineSplitter:
    """Cuts a stream into lines, however it arrives. Holds at most one unfinished line of MOST_LINE_BYTES."""

    __slots__ = ("_most", "_pending", "_searched")

    def __init__(self, most: int = MOST_LINE_BYTES) -> None:
        self._pending = bytearray()
        self._searched = 0
        self._most = most

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """The lines that `chunk` completes, without empty ones. Raises Nonsense for an endless line."""
        self._pending += chunk
        while (end := self._pending.find(b"\n", self._searched)) >= 0:
            line = bytes(self._pending[:end])
            del self._pending[: end + 1]
            self._searched = 0
            if line.strip():
                yield line
        self._searched = len(self._pending)
        if self._searched > self._most:
            raise Nonsense(f"a line of a stream is longer than {self._most} bytes")
