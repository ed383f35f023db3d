"""The Range header (RFC 9110, section 14), for one range of bytes."""

from __future__ import annotations

import re
from dataclasses import dataclass

from controlplane.ports.object_store import ByteRange

_ONE = re.compile(r"bytes=[ \t]*(?:(\d{1,18})-(\d{0,18})|-(\d{1,18}))[ \t]*\Z", re.IGNORECASE | re.ASCII)


class Unsatisfiable(ValueError):
    """The range lies wholly outside of the representation: 416."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A range as it was asked for, of a representation whose size is not known yet."""

    first: int | None
    """None: the last `last` bytes."""
    last: int | None
    """None: to the end."""

    @property
    def nothing(self) -> bool:
        """The last 0 bytes: no representation has them."""
        return self.first is None and self.last == 0

    def of(self, size: int) -> ByteRange:
        """Raises Unsatisfiable."""
        if self.first is None:
            if not self.last or size == 0:
                raise Unsatisfiable(str(self))
            return ByteRange(max(size - self.last, 0), size - 1)
        if self.first >= size:
            raise Unsatisfiable(str(self))
        return ByteRange(self.first, size - 1 if self.last is None else min(self.last, size - 1))

    def __str__(self) -> str:
        """As a Range header, without what clients write around it."""
        return f"bytes={'' if self.first is None else self.first}-{'' if self.last is None else self.last}"


def wanted_range(header: str) -> Wanted | None:
    """The range that the header asks for; None when it is to be ignored and all is to be sent.

    Ignored are: other units, malformed ranges, and several ranges at once (a server may answer those with the whole).
    """
    matched = _ONE.match(header)
    if matched is None:
        return None
    first, last, suffix = matched.groups()
    if suffix is not None:
        return Wanted(None, int(suffix))
    wanted = Wanted(int(first), int(last) if last else None)
    return None if wanted.last is not None and wanted.last < int(first) else wanted


def parse_range(header: str, size: int) -> ByteRange | None:
    """The part of `size` bytes that the header asks for; None as in wanted_range(). Raises Unsatisfiable."""
    wanted = wanted_range(header)
    return None if wanted is None else wanted.of(size)
