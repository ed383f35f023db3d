"""/probes/<node>: what a node's own health probe writes, reads and deletes: the data path without the mirror."""

from __future__ import annotations

from controlplane.gateway.problem import problem
from controlplane.http import Request, Response
from controlplane.model.keys import probe_key
from controlplane.ports.object_store import ObjectStore
from controlplane.services.proving import read_content

_MOST_BYTES = 64 * 1024


class ProbeApi:
    """Probes go to the primary, like blobs, but are neither journalled nor catalogued."""

    def __init__(self, primary: ObjectStore) -> None:
        self._primary = primary

    async def put(self, node: str, request: Request) -> Response:
        """Store the body, of at most 64 KiB."""
        try:
            body = await request.body.read(_MOST_BYTES)
        except ValueError as error:
            return problem(413, "too-large", f"probe of {node}: {error}", request_id=request.id)
        await self._primary.put(probe_key(node), body)
        return Response(204)

    async def get(self, node: str) -> Response:
        """The MD5 of what the primary gives back, read in full."""
        content = await read_content(self._primary, probe_key(node))
        return Response(200, [(b"content-type", b"text/plain"), (b"cache-control", b"no-store")], content.md5.encode())

    async def delete(self, node: str) -> Response:
        await self._primary.delete(probe_key(node))
        return Response(204)
