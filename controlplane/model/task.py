"""One promise in the journal: this object is to be copied to, or deleted from, the persistent store."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from controlplane.model.content import Content
from controlplane.model.failures import Failure
from controlplane.model.keys import Bucket, Key
from controlplane.model.made_often import made_often


class Op(Enum):
    """What was done, and to what: a blob under its GUID, or an S3 object under a key of any bucket."""

    PUT = "put"
    DELETE = "delete"
    PUT_OBJECT = "put-object"
    DELETE_OBJECT = "delete-object"

    is_of_object: bool
    is_delete: bool

    def __init__(self, value: str) -> None:
        # Not properties: every step of a task asks.
        self.is_of_object = value.endswith("-object")
        self.is_delete = value.startswith("delete")


class TaskState(Enum):
    PENDING = "pending"
    FAILED = "failed"
    """A dead letter: the retry budget is spent; `millrace mirror retry` revives it."""


@made_often
@dataclass(frozen=True, slots=True)
class Draft:
    """What a writer puts into the journal before it acknowledges (I1)."""

    op: Op
    bucket: Bucket
    """Bucket in the primary store."""
    key: Key
    content: Content | None = None
    """What was written, when it is known (always for blobs; None for a delete and for S3 objects)."""
    etag: str = ""
    """Of an S3 object: of the very version that was written; any form, multipart too."""
    object_size: int | None = None
    """Bytes of an S3 object, when they are known."""
    rule: str = ""
    """Name of the mirror rule whose target this is about. Empty for blobs; for an S3 object it means every rule that
    covers it: the mirror makes one entry for each of them."""

    @property
    def size(self) -> int:
        """Bytes that are to be copied, as far as they are known."""
        if self.content is not None:
            return self.content.size
        return self.object_size or 0


@made_often
@dataclass(frozen=True, slots=True)
class Task:
    """A journal entry. Per (bucket, key, rule), tasks are worked strictly in the order of `seq`."""

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
    failure: Failure | None = None
    """The category of the last failure; None before the first."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """A dead letter that somebody gave up for good."""

    task: Task
    reason: str
    dropped_at: float
    """Unix seconds."""
