"""Get, put, delete and index queries by protocol buffers. Their fields are those that Riak's documentation names."""

import threading

from tests.hosts.standin.kv import http_index
from tests.hosts.standin.kv.coordinator import TimedOut
from tests.hosts.standin.kv.http_object import _reap
from tests.hosts.standin.kv.node import KvNode
from tests.hosts.standin.kv.objects import BadClock, RiakObject, clock_from_text, clock_text
from tests.hosts.standin.kv.pb_wire import Fields, decode, encode

GET, GET_RESP, PUT, PUT_RESP, DEL, DEL_RESP, BUCKET, BUCKET_RESP, INDEX, INDEX_RESP = (
    9,
    10,
    11,
    12,
    13,
    14,
    19,
    20,
    25,
    26,
)
CODES = (GET, PUT, DEL, BUCKET, INDEX)
_WORDS = {4294967294: "one", 4294967293: "quorum", 4294967292: "all", 4294967291: "default"}


class Refused(Exception):
    """args: the error message."""


def _text(fields: Fields, number: int, default: bytes = b"") -> str:
    value = fields.get(number, [default])[-1]
    assert isinstance(value, bytes)
    return value.decode("latin-1")


def _number(fields: Fields, number: int, default: int = 0) -> int:
    value = fields.get(number, [default])[-1]
    assert isinstance(value, int)
    return value


class Objects:
    """The requests of one node."""

    def __init__(self, node: KvNode) -> None:
        self._node = node

    def answer(self, code: int, payload: bytes) -> tuple[int, bytes]:
        """Raises Refused."""
        try:
            fields = decode(payload)
            match code:
                case 9:
                    return GET_RESP, self._get(fields)
                case 11:
                    return PUT_RESP, self._put(fields)
                case 13:
                    return DEL_RESP, self._delete(fields)
                case 19:
                    return BUCKET_RESP, self._properties(fields)
                case _:
                    return INDEX_RESP, self._index(fields)
        except TimedOut:
            raise Refused("timeout") from None
        except (BadClock, ValueError, IndexError) as error:
            raise Refused(f"Error processing incoming message: {error}") from None

    def _place(self, fields: Fields, kind: int) -> tuple[str, str, str]:
        name = _text(fields, kind, b"default")
        if not self._node.properties.exists(name):
            # Only who asks for properties is told. Source: riak_kv_pb_bucket.erl; riak_kv_get_fsm.erl crashes.
            raise Refused(f"No bucket-type named '{name}'" if kind == 2 else "timeout")
        return name, _text(fields, 1), _text(fields, 2)

    def _properties(self, fields: Fields) -> bytes:
        kind, bucket, _ = self._place(fields, 2)
        known = self._node.properties.of(kind, bucket)
        words = ((2, int(known["allow_mult"])), (3, int(known["last_write_wins"])))
        return encode((1, encode((1, int(known["n_val"])), *words)))

    def _quorum(self, fields: Fields, number: int, place: tuple[str, str, str], default: str) -> int:
        properties = self._node.properties.of(place[0], place[1])
        n = int(properties["n_val"])
        value = _number(fields, number, -1)
        word = _WORDS.get(value, value if value >= 0 else properties[default])
        words = {"one": 1, "quorum": n // 2 + 1, "all": n, "default": n // 2 + 1}
        found = words[word] if isinstance(word, str) else int(word)
        if found > n:
            raise Refused(f"{default}-value violation: n_val is {n}")
        return found

    def _read(self, fields: Fields, place: tuple[str, str, str], r: int, pr: int) -> RiakObject | None:
        return self._node.coordinator.get(
            place, self._quorum(fields, r, place, "r"), self._quorum(fields, pr, place, "pr")
        )

    def _get(self, fields: Fields) -> bytes:
        place = self._place(fields, 13)
        found = self._read(fields, place, 3, 4)
        if found is None:
            return b""
        clock = clock_text(found.clock).encode()
        if not found.live:
            return encode((2, clock)) if _number(fields, 9) else b""
        contents = []
        for sibling in found.siblings:
            indexes = [(10, encode((1, n.encode("latin-1")), (2, v.encode("latin-1")))) for n, v in sibling.indexes]
            kind = str(sibling.metadata.get("content-type", "")).encode("latin-1")
            contents.append(
                (
                    1,
                    encode(
                        (1, sibling.value), (2, kind), (5, sibling.vtag.encode()), *indexes, (11, int(sibling.deleted))
                    ),
                )
            )
        return encode(*contents, (2, clock))

    def _put(self, fields: Fields) -> bytes:
        place = self._place(fields, 16)
        w = max(self._quorum(fields, n, place, name) for n, name in ((5, "w"), (6, "dw"), (8, "pw")))
        if _number(fields, 10):
            known = self._node.coordinator.get(place)
            if known is not None and known.live:
                raise Refused("match_found")
        raw = fields[4][-1]
        assert isinstance(raw, bytes)
        content = decode(raw)
        value = content[1][-1]
        assert isinstance(value, bytes)
        indexes = []
        for pair in content.get(10, []):
            assert isinstance(pair, bytes)
            row = decode(pair)
            indexes.append((_text(row, 1), _text(row, 2)))
        metadata = {"content-type": _text(content, 2, b"application/octet-stream"), "indexes": indexes}
        given = _text(fields, 3)
        context = clock_from_text(given) if given else {}
        self._node.coordinator.put(place, context, {"metadata": metadata}, value, w)
        return b""

    def _delete(self, fields: Fields) -> bytes:
        place = self._place(fields, 13)
        found = self._read(fields, place, 5, 7)
        if found is None or not found.live:
            return b""
        given = _text(fields, 4)
        context = clock_from_text(given) if given else found.clock
        gone = self._node.coordinator.put(place, context, {"metadata": {}, "deleted": True}, b"")
        if not gone.live:
            timer = threading.Timer(self._node.tuning.reap_seconds, lambda: _reap(self._node, place, gone.clock))
            timer.daemon = True
            timer.start()
        return b""

    def _index(self, fields: Fields) -> bytes:
        kind, bucket, field = self._place(fields, 12)
        if not self._node.backends.has_indexes(kind, bucket, self._node.properties.of(kind, bucket)):
            raise Refused(f"{{indexes_not_supported,{self._node.backends.module}}}")
        ranged = _number(fields, 3) == 1
        bounds = [_text(fields, 5), _text(fields, 6)] if ranged else [_text(fields, 4)]
        rows = http_index._rows(self._node, kind, bucket, field, bounds, _text(fields, 13) or None)
        continuation = _text(fields, 10)
        if continuation:
            after = http_index._decode(continuation)
            rows = [row for row in rows if row > after]
        limit = _number(fields, 9)
        more = b""
        if limit:
            rows = rows[:limit]
            more = http_index._encode(*rows[-1]).encode() if len(rows) == limit else b""
        found = [(2, encode((1, str(term).encode("latin-1")), (2, key.encode("latin-1")))) for term, key in rows]
        return encode(*found, *([(3, more)] if more else []))
