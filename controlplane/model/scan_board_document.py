"""The board of a shared scan as JSON, in the directory. Keys and counts, and nothing that grows with the keys."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Final

from controlplane.model.keys import Key
from controlplane.model.scan_board import Board, OpenUnit, Part, Piece, Stage
from controlplane.model.scan_join import Listed
from controlplane.model.scan_state import Counts

VERSION: Final = 1

_COUNTS: Final = tuple(each.name for each in fields(Counts))


def write_board(board: Board) -> str:
    document = {
        "version": VERSION,
        "fingerprint": board.fingerprint,
        "run": board.run,
        "started_at": board.started_at,
        "opened": board.opened,
        "units": {order: _unit(unit) for order, unit in board.units.items()},
        "totals": board.totals.encoded(),
        "failed": board.failed,
        "held_back": board.held_back,
        "allowed": board.allowed,
        "hungry": board.hungry,
        "shares": board.shares,
        "notes": board.notes,
    }
    return json.dumps(document, separators=(",", ":"))


def read_board(text: str) -> Board:
    """Raises ValueError for what write_board() does not make."""
    try:
        document: Mapping[str, Any] = json.loads(text)
        if document["version"] != VERSION:
            raise ValueError(f"version {document['version']} is another one's")
        return Board(
            fingerprint=str(document["fingerprint"]),
            run=int(document["run"]),
            started_at=float(document["started_at"]),
            opened=str(document["opened"]),
            units={str(order): _read_unit(unit) for order, unit in document["units"].items()},
            totals=_read_counts([document["totals"][name] for name in _COUNTS]),
            failed=int(document["failed"]),
            held_back=int(document["held_back"]),
            allowed=int(document["allowed"]),
            hungry=[str(session) for session in document["hungry"]],
            shares={str(node): int(keys) for node, keys in document["shares"].items()},
            notes=[str(line) for line in document.get("notes", ())],  # older nodes write none
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a board: {error!r}") from error


def _unit(unit: OpenUnit) -> dict[str, Any]:
    return {
        "name": unit.name,
        "stage": unit.stage.value,
        "closer": unit.closer,
        "prefers": unit.prefers,
        "reserved": unit.reserved,
        "pieces": [[at.start, at.until, at.cursor, at.node, at.session, at.done] for at in unit.pieces],
        "parts": {node: _part(part) for node, part in unit.parts.items()},
    }


def _read_unit(document: Mapping[str, Any]) -> OpenUnit:
    pieces = [
        Piece(Key(start), None if until is None else Key(until), Key(cursor), str(node), str(session), bool(done))
        for start, until, cursor, node, session, done in document["pieces"]
    ]
    edge: str | None = ""
    for piece in pieces:
        if piece.start != edge:
            raise ValueError("these pieces do not cover the keys")
        edge = piece.until
    if edge is not None:
        raise ValueError("these pieces do not cover the keys")
    return OpenUnit(
        name=str(document["name"]),
        pieces=pieces,
        parts={str(node): _read_part(part) for node, part in document["parts"].items()},
        stage=Stage(document["stage"]),
        closer=str(document["closer"]),
        prefers=str(document["prefers"]),
        reserved=int(document["reserved"]),
    )


def _part(part: Part) -> dict[str, Any]:
    return {
        "counts": [getattr(part.counts, name) for name in _COUNTS],
        "due": part.due,
        "witness": None if part.witness is None else list(part.witness),
        "error": part.error,
        "vote": part.vote,
        "gone": part.gone,
        "worker": part.worker,
    }


def _read_part(document: Mapping[str, Any]) -> Part:
    witness, vote = document["witness"], document["vote"]
    return Part(
        counts=_read_counts(document["counts"]),
        due=int(document["due"]),
        witness=None if witness is None else Listed(*witness),
        error=str(document["error"]),
        vote=None if vote is None else str(vote),
        gone=bool(document["gone"]),
        worker=str(document["worker"]),
    )


def _read_counts(numbers: list[Any]) -> Counts:
    return Counts(**{name: int(number) for name, number in zip(_COUNTS, numbers, strict=True)})
