"""The request that a log line belongs to."""

from __future__ import annotations

from contextvars import ContextVar

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""Set by the gateway for the time of one request; the log formatter adds it to every line."""
