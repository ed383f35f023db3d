"""The board of a shared scan in etcd: `scan/board`, and `scan/nodes/<node>` under each node's lease.

A board is only replaced by who has its key among the nodes at that moment, which the swap's transaction compares too.
"""

from __future__ import annotations

from controlplane.adapters.etcd.keyspace import Keyspace, LeaseLost, nonsense
from controlplane.adapters.etcd.members import Members, OutcomeUnknown
from controlplane.adapters.etcd.options import EtcdOptions
from controlplane.adapters.etcd.schema import KeySchema
from controlplane.adapters.etcd.wire import Json, Nonsense, encode, member, members, prefix_end, read_kvs
from controlplane.ports.directory import require_part
from controlplane.ports.errors import Corrupt, StorageFull
from controlplane.ports.scan_board import NoSession, Posted

ROOT = "scan"
"""First part of the names; others below it are checkpoints (services/shared_documents.py)."""

MOST_BYTES = 512 * 1024
"""Of a board: etcd takes 1.5 MiB in a request, as it ships, and every change is one."""


class EtcdScanBoards:
    """Implements ports.scan_board.ScanBoards, over connections of its own: a slow request of others delays no lease."""

    def __init__(self, options: EtcdOptions, cluster: str) -> None:
        self._connections = Members(options)
        self._keyspace = Keyspace(self._connections)
        schema = KeySchema(cluster)
        self._board = schema.name(f"{ROOT}/board")
        self._nodes = schema.name(f"{ROOT}/nodes") + "/"
        self._lease = 0
        self._node = ""

    async def join(self, node: str, ttl_s: float) -> str:
        self._node = require_part(node, "a node name")
        lease, _ = await self._keyspace.grant(ttl_s)
        session = f"{node}/{lease:x}"
        try:
            await self._keyspace.put(self._nodes + node, session, lease)
        except LeaseLost as error:
            raise OutcomeUnknown(f"the lease of {self._nodes}{node} ended before it was used: try again") from error
        self._lease = lease
        return session

    async def renew(self) -> None:
        if not self._lease:
            raise NoSession("this node takes no part in a scan")
        try:
            await self._keyspace.keep_alive(self._lease)
        except LeaseLost as error:
            self._lease = 0
            raise NoSession(str(error)) from error

    async def seen(self) -> Posted:
        nodes = {"request_range": {"key": encode(self._nodes), "range_end": encode(prefix_end(self._nodes))}}
        board = {"request_range": {"key": encode(self._board)}}
        answer = await self._keyspace.transact({"compare": [], "success": [nodes, board]}, repeatable=True)
        try:
            those, texts = (read_kvs(member(one, "response_range")) for one in members(answer.fields, "responses"))
        except (Nonsense, ValueError) as error:
            raise nonsense(error) from error
        sessions = frozenset(kv.value.decode(errors="replace") for kv in those)
        if not texts:
            return Posted(sessions, None, 0)
        try:
            return Posted(sessions, texts[0].value.decode(), texts[0].mod_revision)
        except UnicodeDecodeError as error:
            raise Corrupt(f"{self._board} in etcd is not UTF-8 text: another program wrote it; delete it") from error

    async def swap(self, revision: int, text: str | None) -> bool:
        if not self._lease:
            raise NoSession("this node takes no part in a scan")
        if text is not None and len(text) > MOST_BYTES:
            raise StorageFull(
                f"the board of the scan would have {len(text)} bytes, more than {MOST_BYTES}: let fewer nodes scan "
                "(mirror.scan.interval_s = 0 on the others), or lower mirror.scan.workers"
            )
        key, node = encode(self._board), encode(self._nodes + self._node)
        there: Json = {"key": key, "result": "EQUAL", "target": "CREATE", "create_revision": "0"}
        if revision:
            there = {"key": key, "result": "EQUAL", "target": "MOD", "mod_revision": str(revision)}
        ours = {"key": node, "result": "EQUAL", "target": "LEASE", "lease": str(self._lease)}
        change: Json = {"request_delete_range": {"key": key}}
        if text is not None:
            change = {"request_put": {"key": key, "value": encode(text)}}
        body = {"compare": [there, ours], "success": [change], "failure": [{"request_range": {"key": node}}]}
        # Repeatable: of several copies one at most finds the revision. One that expects no board might come after that
        # was made and taken away: a scan would begin once more.
        answer = await self._keyspace.transact(body, repeatable=bool(revision))
        if answer.fields.get("succeeded") is True:
            return True
        try:
            kvs = read_kvs(member(members(answer.fields, "responses")[0], "response_range"))
        except (Nonsense, LookupError) as error:
            raise nonsense(error) from error
        if not kvs or kvs[0].lease != self._lease:
            self._lease = 0
            raise NoSession(f"{self._nodes}{self._node} is no longer this node's")
        if answer.doubtful:
            raise OutcomeUnknown(f"etcd may or may not have changed {self._board}: it is read back", 0.5)
        return False

    async def leave(self) -> None:
        if self._lease:
            lease, self._lease = self._lease, 0
            await self._keyspace.revoke(lease)

    async def aclose(self) -> None:
        """Leaves the lease to expire: leave first."""
        await self._connections.aclose()
