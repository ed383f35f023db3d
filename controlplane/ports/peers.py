"""Peers: other gateways of the cluster and other workers of this one, which may be fetching what is wanted here."""

from __future__ import annotations

import json
from dataclasses import asdict
from enum import Enum
from typing import Final, Protocol

from controlplane.model.content import Content
from controlplane.model.keys import Key
from controlplane.ports.object_store import ObjectInfo, ObjectReader

ASKER: Final = "millrace-asker"
"""The request's field that names an Asker; none: a gateway."""
OBJECT: Final = "millrace-object"
"""The answer's field that tells the info of an object."""


class Asker(Enum):
    """Who asks a peer for what it fetches. Each is shown only what cannot lead round in a circle."""

    GATEWAY = "gateway"
    """Another gateway: what this one has claimed for the whole cluster, whichever of its workers fetches it."""
    WORKER = "worker"
    """A worker of this gateway: what the asked one fetches for all of them."""
    FORWARDED = "forwarded"
    """A worker that another gateway has asked: what the asked one has claimed for the whole cluster."""


class Peers(Protocol):
    async def open(self, url: str, name: str, asker: Asker) -> ObjectReader:
        """What the peer at `url` is fetching under `name`, as it arrives there; its last bytes come when it is proved.

        Names: `blobs/<guid>`, `objects/<digest of bucket and key>`. Of a blob, the info has no metadata.
        Raises NotFound (it is not fetching it, or has just done so), Unavailable, Rejected (the secrets differ).
        """
        ...

    async def aclose(self) -> None: ...


def object_note(info: ObjectInfo) -> str:
    """The info in ASCII."""
    return json.dumps(asdict(info), separators=(",", ":"))


def noted_object(note: str) -> ObjectInfo:
    """Raises ValueError, TypeError, KeyError for what object_note() did not make."""
    fields = json.loads(note)
    content = fields.pop("content")
    return ObjectInfo(**{**fields, "key": Key(fields["key"]), "content": content and Content(**content)})
