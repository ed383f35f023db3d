"""One promise in the journal: this object is to be copied to, or deleted from, the persistent store."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from controlplane.model.content import Content
from controlplane.model.keys import Bucket, Key


class Op(Enum):
    PUT = "put"
    DELETE = "delete"


class TaskState(Enum):
    PENDING = "pending"
    FAILED = "failed"
    """A dead letter: the retry budget is spent; `millrace mirror retry` revives it."""


@dataclass(frozen=True, slots=True)
class Draft:
    """What a writer puts into the journal before it acknowledges (I1)."""

    op: Op
    bucket: Bucket
    """Bucket in the primary store."""
    key: Key
    content: Content | None = None
    """What was written, when it is known (always for blobs; None for a delete)."""
    etag: str = ""


@dataclass(frozen=True, slots=True)
class Task:
    """A journal entry. Per (bucket, key), tasks are worked strictly in the order of `seq`."""

    seq: int
    """The journal's own order: a hybrid logical clock (see hybrid_clock), unique and increasing."""
    draft: Draft
    state: TaskState
    attempts: int
    """How often it was tried and failed."""
    due_at: float
    """Unix seconds before which it is not tried."""
    enqueued_at: float
    error: str = ""
    """What the last attempt said; empty before the first failure."""
