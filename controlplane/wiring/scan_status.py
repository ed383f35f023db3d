"""How far the agents' scan is, read beside them: from etcd where nodes share it, else from this node's files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controlplane.adapters.filesystem.documents import FileDocuments
from controlplane.adapters.system_clock import SystemClock
from controlplane.model.scan_board import Board, node_of, shares_of
from controlplane.model.scan_board_document import read_board
from controlplane.model.scan_state import Counts, decode_counts
from controlplane.ports.errors import MillraceError
from controlplane.ports.scan_board import Posted
from controlplane.services.scan_duty import LAST
from controlplane.services.scan_run import RUN
from controlplane.services.shared_documents import SharedDocuments
from controlplane.settings.tree import Settings
from controlplane.wiring.adapters import build_directory, etcd_options
from controlplane.wiring.scan_places import SHARED_DOCUMENTS, scan_folder


async def scan_status(settings: Settings) -> dict[str, Any] | None:
    """None: this node's agent does not scan by itself. "error": why nothing is known of it."""
    if not settings.mirror.scan.interval_s:
        return None
    told: dict[str, Any] = {"error": "", "under_way": None, "last": None}
    try:
        if settings.directory.etcd.endpoints:
            told["under_way"], told["last"], told["error"] = await _shared(settings)
        else:
            documents = FileDocuments(scan_folder(settings))
            told["under_way"] = _alone(settings.node.name, await documents.load(RUN))
            told["last"] = _last(await documents.load(LAST))
    except MillraceError as error:
        told["error"] = str(error)
    return told


async def _shared(settings: Settings) -> tuple[dict[str, Any] | None, dict[str, Any] | None, str]:
    from controlplane.adapters.etcd.scan_board import EtcdScanBoards

    directory = build_directory(settings, SystemClock())
    boards = EtcdScanBoards(etcd_options(settings), settings.node.cluster)
    try:
        posted = await boards.seen()
        last = await SharedDocuments(directory, SHARED_DOCUMENTS).load(LAST)
    finally:
        await boards.aclose()
        await directory.aclose()
    under_way, error = _posted(posted)
    return under_way, _last(last), error


def _posted(posted: Posted) -> tuple[dict[str, Any] | None, str]:
    """The scan under way; and why nothing is known of one that there is."""
    if posted.text is None:
        return None, ""
    try:
        return _under_way(read_board(posted.text), posted.sessions), ""
    except ValueError as error:
        nodes = ", ".join(sorted(map(node_of, posted.sessions))) or "no node"
        return None, f"the board in etcd cannot be read ({error}), {nodes} at it: does another version scan?"


def _under_way(board: Board, sessions: frozenset[str]) -> dict[str, Any]:
    counts = Counts()
    counts.add(board.totals)
    for unit in board.units.values():
        counts.add(unit.counts)
    living = {node_of(session) for session in sessions}
    return {
        "started_at": board.started_at,
        "nodes": {
            node: {"keys": shares_of(board).get(node, 0), "there": node in living}
            for node in sorted({*shares_of(board), *living})
        },
        "open_buckets": len(board.units),
        "failed_buckets": board.failed,
        "totals": counts.encoded(),
    }


def _alone(node: str, document: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Whether it goes on just now, a file does not say: as of its last checkpoint."""
    if document is None:
        return None
    try:
        counts = decode_counts(document["totals"])
        if document["state"] is not None:
            counts.add(decode_counts(document["state"]["counts"]))
        return {
            "started_at": float(document["started_at"]),
            "nodes": {node: {"keys": counts.listed_at_source, "there": None}},
            "open_buckets": int(bool(document["unit"])),
            "failed_buckets": int(document["failed"]),
            "totals": counts.encoded(),
        }
    except (KeyError, TypeError, ValueError):
        return None


def _last(document: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if document is None else dict(document)
