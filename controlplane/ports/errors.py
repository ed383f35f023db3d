"""The error tree. Adapters translate every failure of their technology into one of these with `raise ... from`.

An outage is never NotFound (I5): whatever cannot be reached, answers nonsense or answers 5xx is Unavailable.
Messages tell the operator what happened, where, and what to do.
"""

from __future__ import annotations


class MillraceError(Exception):
    """Base of every expected failure."""


class NotFound(MillraceError):
    """The store answered, and the thing is not there."""


class Conflict(MillraceError):
    """The thing is there already and differs, or a comparison failed. Nothing was changed."""


class Rejected(MillraceError):
    """The request itself is wrong or not allowed (bad credentials, bad input): a retry cannot help."""


class Forbidden(Rejected):
    """Not with these credentials: people have to see to it."""


class Missing(Rejected):
    """What should hold the thing is not there (a bucket): it proves nothing about the thing itself (I5)."""


class Corrupt(MillraceError):
    """Bytes do not match their digests or their length. Nothing of them was kept or served."""


class Unavailable(MillraceError):
    """The other side is away, overloaded or answered nonsense; the outcome may be unknown. Try again later."""

    def __init__(self, message: str, retry_after: float = 5.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        """Seconds after which a retry is sensible."""


class BrokenOff(Unavailable):
    """A long piece of work came on and did not end; what was done is kept, and the next attempt goes on from there."""


class Throttled(Unavailable):
    """The other side is there and asks for fewer requests."""


class Full(Unavailable):
    """A bound is reached (journal bound): pushed back, nothing was dropped."""


class StorageFull(Unavailable):
    """The disk or the quota behind a store is full."""


def let_go_of_frames(error: BaseException) -> None:
    """For an error that was written down: it loses its traceback, and so does what led to it.

    A frame that had a name for an error before it was raised is in a cycle with it. Until the collector comes it keeps
    what it worked on, and so do its callers: of a copy, the object's body.
    """
    left, seen = [error], {id(error)}
    while left:
        each = left.pop()
        each.__traceback__ = None
        led_here = [each.__cause__, each.__context__]
        if isinstance(each, BaseExceptionGroup):
            led_here += each.exceptions
        for other in led_here:
            if other is not None and id(other) not in seen:
                seen.add(id(other))
                left.append(other)
