"""Why a copy fails, as far as it matters for when to try again."""

from __future__ import annotations

from enum import Enum


class Failure(Enum):
    """The category of a failed attempt. Its value is what the journal and `millrace mirror failed` show."""

    THROTTLED = "throttled"
    """The store asks to be left alone: it counts against nothing, and its whole lane slows down."""
    UNAVAILABLE = "unavailable"
    """No answer, or none that can be relied on; where the whole store is away it counts against nothing."""
    FORBIDDEN = "forbidden"
    """The store refuses: credentials, rights, or a request that it does not take. People repair that, slowly."""
    CORRUPT = "corrupt"
    """Bytes and digests do not agree, at the source or at the target: looked at again a few times, then by people."""
    GONE = "gone"
    """A bucket, or a source that was promised, is not there."""
    HOPELESS = "hopeless"
    """A retry cannot help: another content has the same MD5 (I3), or the target's nature forbids it."""
