"""Whether a store compares before it replaces or removes: doctor tries it on an object of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from controlplane.cli.doctor import Finding, Health
from controlplane.ports.errors import Conflict

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from controlplane.model.keys import Key
    from controlplane.ports.object_store import ObjectStore

CREATE: Final = "If-None-Match: * of a PUT"
REPLACE: Final = "If-Match of a PUT"
DELETE: Final = "If-Match of a DELETE"
_OTHER_ETAG: Final = "0" * 32


async def ignored_by(store: ObjectStore, key: Key) -> Sequence[str]:
    """The conditions that the store does not look at. An object is under `key`; it may not be there any more after.
    Raises what a store may."""
    tried: dict[str, Callable[[], Awaitable[object]]] = {
        CREATE: lambda: store.put(key, b"not to be seen", if_absent=True),
        REPLACE: lambda: store.put(key, b"not to be seen", if_match=_OTHER_ETAG),
        DELETE: lambda: store.delete(key, if_match=_OTHER_ETAG),
    }
    ignored: list[str] = []
    for name, ask in tried.items():
        try:
            await ask()
        except Conflict:
            continue
        ignored.append(name)
    return ignored


def judged(check: str, found: str, ignored: Sequence[str]) -> Finding:
    """`found`: what else was found of the store, which works."""
    if not ignored:
        return Finding(check, Health.OK, f"{found}; it compares before it replaces or removes")
    left_out = ", ".join(ignored)
    if CREATE in ignored or REPLACE in ignored:
        return Finding(
            check,
            Health.WARN,
            f"{found}; it ignores {left_out}",
            "set conditional_put = false there, so that nothing relies on it",
        )
    return Finding(check, Health.OK, f"{found}; it compares before it replaces, but ignores {left_out}")
