"""Structured logs: one JSON object a line on standard error."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

from controlplane.ports.log_context import request_id

_PLAIN = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


class JsonLines(logging.Formatter):
    """time, level, logger, message, request_id, everything given as `extra`, and the traceback of an exception."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if bound := request_id.get():
            line["request_id"] = bound
        line.update((name, value) for name, value in record.__dict__.items() if name not in _PLAIN)
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


def set_up_logs(level: str, node: str, role: str, worker: int | None = None) -> None:
    """Send everything from `level` on to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    handler.addFilter(_Stamp(node, role, worker))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    logging.getLogger("controlplane").setLevel(level.upper())
    # Libraries speak only when something is wrong.
    for name in ("asyncio", "aiohttp", "azure", "google", "urllib3"):
        logging.getLogger(name).setLevel("WARNING")


class _Stamp(logging.Filter):
    def __init__(self, node: str, role: str, worker: int | None) -> None:
        super().__init__()
        self._node = node
        self._role = role
        self._worker = worker

    def filter(self, record: logging.LogRecord) -> bool:
        record.node = self._node
        record.role = self._role
        if self._worker is not None:
            record.worker = self._worker
        return True
