"""Writes and deletes against a gateway that may be killed at any moment, and what it acknowledged."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
from dataclasses import dataclass, field

from tests.support.millrace_node import Node

_SMALL, _SPOOLED = 3_000, 700_000
"""Bytes: one body stays in memory, the other goes through a spool file."""


@dataclass
class Acknowledged:
    """What a client may rely on."""

    stored: set[str] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)
    unknown: set[str] = field(default_factory=set)
    """Deletes without an answer: such a blob may be there or not."""

    def put(self, node: Node, size: int) -> str:
        """Store fresh random bytes; the GUID that was acknowledged."""
        body = os.urandom(size)
        guid = hashlib.md5(body).hexdigest()
        status, _, answer = node.request("POST", "/blobs", body)
        assert status == 201, (status, answer)
        assert json.loads(answer)["guid"] == guid
        self.stored.add(guid)
        return guid

    def delete(self, node: Node, guid: str) -> None:
        self.stored.discard(guid)
        self.unknown.add(guid)
        status, _, answer = node.request("DELETE", f"/blobs/{guid}")
        assert status == 204, (status, answer)
        self.unknown.discard(guid)
        self.deleted.add(guid)

    def run_until_killed(self, node: Node, rounds: int = 40) -> bool:
        """Put, put, delete, over and over; True when the gateway died on the way."""
        try:
            for _ in range(rounds):
                self.put(node, _SMALL)
                victim = self.put(node, _SPOOLED)
                self.delete(node, victim)
        except (OSError, http.client.HTTPException):
            return True
        return False
