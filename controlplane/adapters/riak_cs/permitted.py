"""Which requests may be sent to Riak CS at all.

Riak CS takes a subresource that it does not know for the plain operation: PUT ?tagging stores the tags as the object,
DELETE ?cors of an empty bucket deletes the bucket, PUT ?cors creates a bucket anew and resets its ACL, GET ?cors lists
it (recordings sub-object-after-tagging, sub-empty-delete-cors, sub-acl-after-cors, sub-get-cors). So nothing leaves but
what stands in this table, whatever the rooms above believe.
"""

from __future__ import annotations

from typing import Final

from controlplane.ports.upstream import Ask, Query

_PLAIN: Final[frozenset[str]] = frozenset()
_LISTING: Final = frozenset({"prefix", "marker", "delimiter", "max-keys"})
_VERSION: Final = frozenset({"versionId"})
_UPLOAD: Final = frozenset({"uploadId"})

_SERVICE: Final = {"GET": ((_PLAIN, _PLAIN),)}
# method: (names that must be there, names that may be)
_BUCKET: Final = {
    "GET": (
        (_PLAIN, _LISTING),
        (frozenset({"acl"}), _PLAIN),
        (frozenset({"policy"}), _PLAIN),
        (frozenset({"location"}), _PLAIN),
        (frozenset({"versioning"}), _PLAIN),
        (frozenset({"versions"}), frozenset({"prefix", "key-marker", "version-id-marker", "delimiter", "max-keys"})),
        (
            frozenset({"uploads"}),
            frozenset({"prefix", "key-marker", "upload-id-marker", "delimiter", "max-uploads"}),
        ),
    ),
    "HEAD": ((_PLAIN, _PLAIN),),
    "PUT": (
        (_PLAIN, _PLAIN),
        (frozenset({"acl"}), _PLAIN),
        (frozenset({"policy"}), _PLAIN),
        (frozenset({"versioning"}), _PLAIN),
    ),
    "DELETE": ((_PLAIN, _PLAIN), (frozenset({"policy"}), _PLAIN)),
    "POST": ((frozenset({"delete"}), _PLAIN),),
}
_OBJECT: Final = {
    "GET": ((_PLAIN, _VERSION), (frozenset({"acl"}), _VERSION), (_UPLOAD, _PLAIN)),
    "HEAD": ((_PLAIN, _VERSION),),
    "PUT": (
        (_PLAIN, _PLAIN),
        (frozenset({"acl"}), _VERSION),
        (frozenset({"partNumber", "uploadId"}), _PLAIN),
    ),
    "DELETE": ((_PLAIN, _VERSION), (_UPLOAD, _PLAIN)),
    "POST": ((frozenset({"uploads"}), _PLAIN), (_UPLOAD, _PLAIN)),
}


class Unsafe(ValueError):
    """A request that Riak CS would understand as another one. It was not sent: this is a fault of the gateway."""


def require_permitted(ask: Ask) -> None:
    """Raises Unsafe."""
    if not ask.query and ask.key and ask.method in _OBJECT and ask.method != "POST":
        return  # nearly all of them
    if (ask.method, ask.bucket, ask.key, ask.query) == ("POST", "riak-cs", "user", ()):
        return  # creates a user, at the admin port; no S3 operation is a POST of an object without a query
    table = _OBJECT if ask.key else _BUCKET if ask.bucket else _SERVICE
    if not _matches(table.get(ask.method, ()), ask.query):
        names = "&".join(name for name, _ in ask.query)
        place = "object" if ask.key else "bucket" if ask.bucket else "service"
        raise Unsafe(f"{ask.method} {place} ?{names} is not for Riak CS")
    if any(name in ("delimiter", "versionId", "uploadId") and not value for name, value in ask.query):
        # An empty delimiter closes the connection without an answer (list-v1-delimiter-empty).
        raise Unsafe("an empty delimiter, versionId or uploadId is not for Riak CS")


def _matches(rows: tuple[tuple[frozenset[str], frozenset[str]], ...], query: Query) -> bool:
    names = [name for name, _ in query]
    found = frozenset(names)
    return len(found) == len(names) and any(need <= found and found <= need | may for need, may in rows)
