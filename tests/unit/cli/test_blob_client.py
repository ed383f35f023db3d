"""The client against gateways that follow a script: verification, failover, retries, and taking up what broke off."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import pytest

from controlplane.cli.blob_client import BlobClient
from controlplane.cli.blob_transport import Broken
from controlplane.model.content import Content, Guid, Md5, Sha256
from controlplane.ports.errors import Conflict, Corrupt, MillraceError, NotFound, Rejected, Unavailable

DATA = bytes(range(256)) * 40
GUID = Guid(Md5(hashlib.md5(DATA).hexdigest()))
SHA256 = Sha256(hashlib.sha256(DATA).hexdigest())
STORED = {"guid": GUID, "sha256": SHA256, "size": len(DATA)}


@dataclass
class Reply:
    """What a scripted gateway says. `breaks` cuts the body off after what `body` holds."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    whole_body_sent: bool = True
    breaks: bool = False

    def header(self, name: str) -> str | None:
        return self.headers.get(name)

    def read(self, most: int) -> bytes:
        most = min(most, 1000)
        block, self.body = self.body[:most], self.body[most:]
        if not block and self.breaks:
            raise Broken("the answer broke off")
        return block


Step = Reply | Exception


@dataclass
class Scripted:
    """A connection that plays its steps; takes the whole body unless the step is an error that comes before."""

    url: str
    steps: list[Step]
    used: bool = False
    asked: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    takes_body: bool = True
    closed: int = 0

    def exchange(
        self, method: str, path: str, headers: Mapping[str, str], body: Iterator[bytes] | None, size: int | None
    ) -> Reply:
        self.asked.append((method, path, dict(headers)))
        if body is not None and self.takes_body:
            self.bodies.append(b"".join(body))
            assert size in (None, len(self.bodies[-1]))
        step = self.steps.pop(0)
        if isinstance(step, Exception):
            raise step
        return step

    def close(self) -> None:
        self.closed += 1
        self.used = False


class Bytes:
    """A Source in memory."""

    name = "memory"

    def __init__(self, data: bytes = DATA, *, rewinds: bool = True) -> None:
        self._data = data
        self._rewinds = rewinds
        self.size: int | None = len(data) if rewinds else None
        self.rewound = 0

    def rewind(self) -> bool:
        self.rewound += 1
        return self._rewinds

    def blocks(self) -> Iterator[bytes]:
        for at in range(0, len(self._data), 1024):
            yield self._data[at : at + 1024]


class Sink:
    def __init__(self) -> None:
        self.data = b""

    def write(self, block: bytes) -> None:
        self.data += block


class Clock:
    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def client_of(
    *connections: Scripted, wait_s: float = 0.0, clock: Clock | None = None, token: str | None = None
) -> BlobClient:
    by_url = {each.url: each for each in connections}
    clock = clock or Clock()
    return BlobClient(
        list(by_url),
        lambda url: by_url[url],
        token=token,
        wait_s=wait_s,
        monotonic=lambda: clock.now,
        sleep=clock.sleep,
    )


def problem(status: int, kind: str, detail: str = "the detail", **headers: str) -> Reply:
    body = json.dumps({"type": f"urn:millrace:problem:{kind}", "status": status, "detail": detail}).encode()
    more = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, {"content-type": "application/problem+json", "x-request-id": "r-7", **more}, body)


def stored(status: int = 201, **changes: object) -> Reply:
    return Reply(status, {"content-type": "application/json"}, json.dumps({**STORED, **changes}).encode())


def blob(data: bytes = DATA, *, status: int = 200, breaks: bool = False, **changes: str) -> Reply:
    headers = {"etag": f'"{GUID}"', "millrace-sha256": SHA256, "content-length": str(len(DATA)), **changes}
    return Reply(status, headers, data, breaks=breaks)


def part(first: int, data: bytes | None = None) -> Reply:
    return blob(
        DATA[first:] if data is None else data,
        status=206,
        **{"content-range": f"bytes {first}-{len(DATA) - 1}/{len(DATA)}"},
    )


class Moved:
    def __init__(self) -> None:
        self.total = 0

    def __call__(self, count: int) -> None:
        self.total += count


def get(client: BlobClient, sink: Sink, moved: Callable[[int], None] = lambda _: None, **by: object) -> Content:
    return client.get(sink, moved=moved, expect=lambda _: None, **(by or {"guid": GUID}))  # type: ignore[arg-type]


def put(client: BlobClient, source: Bytes, **more: object) -> Content:
    arguments = {"content_type": "text/plain", "moved": lambda _: None, **more}
    return client.put(source, **arguments).content  # type: ignore[arg-type]


# -- put ---------------------------------------------------------------------------------------------------------


def test_put_posts_the_bytes_with_type_and_token() -> None:
    gateway, moved = Scripted("http://a", [stored()]), Moved()
    found = put(client_of(gateway, token="secret"), Bytes(), moved=moved)
    assert found == Content(GUID, SHA256, len(DATA))
    method, path, headers = gateway.asked[0]
    assert (method, path, gateway.bodies) == ("POST", "/blobs", [DATA])
    assert headers["authorization"] == "Bearer secret"
    assert headers["content-type"] == "text/plain"
    assert moved.total == len(DATA)


def test_put_under_a_guid_is_a_put() -> None:
    gateway = Scripted("http://a", [stored(200)])
    put(client_of(gateway), Bytes(), guid=GUID)
    assert gateway.asked[0][:2] == ("PUT", f"/blobs/{GUID}")


@pytest.mark.parametrize("changes", [{"guid": "0" * 32}, {"sha256": "0" * 64}, {"size": 1}])
def test_put_is_corrupt_when_the_gateway_stored_something_else(changes: dict[str, object]) -> None:
    with pytest.raises(Corrupt, match="should be"):
        put(client_of(Scripted("http://a", [stored(**changes)])), Bytes())


@pytest.mark.parametrize(
    "reply",
    [Reply(200, {}, b"<html>"), Reply(201, {}, b"[]"), stored(guid="nonsense"), Reply(201, {}, b""), stored(size="1")],
)
def test_put_does_not_believe_an_answer_that_says_nothing(reply: Reply) -> None:
    with pytest.raises(Unavailable, match="without saying what it stored"):
        put(client_of(Scripted("http://a", [reply])), Bytes())


def test_put_does_not_believe_success_before_the_body_was_sent() -> None:
    reply = stored()
    reply.whole_body_sent = False
    with pytest.raises(Unavailable, match="before it had the whole body"):
        put(client_of(Scripted("http://a", [reply])), Bytes())


def test_put_goes_on_to_the_next_gateway_and_stays_there() -> None:
    dead, alive = Scripted("http://a", [Broken("down")]), Scripted("http://b", [stored(), stored(200)])
    client, moved = client_of(dead, alive), Moved()
    put(client, Bytes(), moved=moved)
    put(client, Bytes())
    assert len(dead.asked) == 1
    assert alive.bodies == [DATA, DATA]
    assert moved.total == len(DATA), "what passed twice is counted once"


def test_put_of_a_stream_is_not_sent_twice() -> None:
    """Half of standard input under the name of the whole would be worse than a failure."""
    broken, other = Scripted("http://a", [Broken("broke")]), Scripted("http://b", [stored()])
    with pytest.raises(Unavailable, match="broke"):
        put(client_of(broken, other, wait_s=100), Bytes(rewinds=False))
    assert other.asked == []


def test_put_of_a_stream_fails_over_while_nothing_of_it_was_read() -> None:
    dead, alive = Scripted("http://a", [Broken("down")], takes_body=False), Scripted("http://b", [stored()])
    put(client_of(dead, alive), Bytes(rewinds=False))
    assert alive.bodies == [DATA]


# -- get ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", [{"guid": GUID}, {"sha256": SHA256}])
def test_get_writes_and_verifies(by: dict[str, object]) -> None:
    gateway, sink = Scripted("http://a", [blob()]), Sink()
    assert get(client_of(gateway), sink, **by) == Content(GUID, SHA256, len(DATA))
    assert sink.data == DATA
    assert gateway.asked[0][1] == (f"/blobs/{GUID}" if "guid" in by else f"/blobs/sha256/{SHA256}")


def test_get_of_wrong_bytes_is_corrupt_and_not_tried_again() -> None:
    wrong = bytes(len(DATA))
    gateway = Scripted("http://a", [blob(wrong), blob()])
    with pytest.raises(Corrupt, match="MD5 should be"):
        get(client_of(gateway, wait_s=60), Sink())
    assert len(gateway.asked) == 1


def test_get_of_bytes_with_the_right_md5_and_another_sha256_is_corrupt() -> None:
    with pytest.raises(Corrupt, match="SHA-256"):
        get(client_of(Scripted("http://a", [blob(**{"millrace-sha256": "0" * 64})])), Sink())


@pytest.mark.parametrize("changes", [{"etag": f'"{"0" * 32}"'}, {"millrace-sha256": "0" * 64}])
def test_get_of_another_blob_writes_nothing(changes: dict[str, str]) -> None:
    sink, by = Sink(), {"guid": GUID} if "etag" in changes else {"sha256": SHA256}
    with pytest.raises(Corrupt, match="another blob"):
        get(client_of(Scripted("http://a", [blob(**changes)])), sink, **by)
    assert sink.data == b""


@pytest.mark.parametrize("missing", ["etag", "millrace-sha256", "content-length"])
def test_get_without_proof_writes_nothing(missing: str) -> None:
    reply, sink = blob(), Sink()
    del reply.headers[missing]
    with pytest.raises(Unavailable, match="cannot be verified"):
        get(client_of(Scripted("http://a", [reply])), sink)
    assert sink.data == b""


def test_get_takes_the_standard_digest_where_a_proxy_drops_ours() -> None:
    reply = blob(**{"repr-digest": f"sha-256=:{base64.b64encode(bytes.fromhex(SHA256)).decode()}:"})
    del reply.headers["millrace-sha256"]
    assert get(client_of(Scripted("http://a", [reply])), Sink()).sha256 == SHA256


@pytest.mark.parametrize("value", ["sha-256=:???:", "sha-512=:AAAA:", "sha-256=:AAAA:", ""])
def test_get_refuses_a_standard_digest_that_is_none(value: str) -> None:
    reply = blob(**{"repr-digest": value})
    del reply.headers["millrace-sha256"]
    with pytest.raises(Unavailable):
        get(client_of(Scripted("http://a", [reply])), Sink())


def test_get_takes_up_at_another_gateway_what_broke_off() -> None:
    first = Scripted("http://a", [blob(DATA[:3000], breaks=True)])
    second, sink, moved = Scripted("http://b", [part(3000)]), Sink(), Moved()
    assert get(client_of(first, second), sink, moved).md5 == GUID
    assert sink.data == DATA
    assert moved.total == len(DATA)
    assert second.asked[0][2]["range"] == "bytes=3000-"
    assert second.asked[0][2]["if-range"] == f'"{GUID}"'


def test_get_that_ends_short_never_looks_complete() -> None:
    with pytest.raises(Unavailable, match="ended after 3000 of"):
        get(client_of(Scripted("http://a", [blob(DATA[:3000])])), Sink())


@pytest.mark.parametrize("second", [blob(), part(2000)])
def test_get_does_not_join_parts_that_do_not_fit(second: Reply) -> None:
    first, other = Scripted("http://a", [blob(DATA[:3000], breaks=True)]), Scripted("http://b", [second])
    with pytest.raises(Corrupt):
        get(client_of(first, other), Sink())


def test_get_verifies_what_it_joined() -> None:
    first = Scripted("http://a", [blob(DATA[:3000], breaks=True)])
    with pytest.raises(Corrupt, match="MD5 should be"):
        get(client_of(first, Scripted("http://b", [part(3000, bytes(len(DATA) - 3000))])), Sink())


# -- refusals ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (problem(404, "not-found"), NotFound),
        (problem(404, "no-such-path"), Rejected),
        (Reply(404, {"content-type": "text/html"}, b"<html>"), Rejected),
        (problem(401, "unauthorized"), Rejected),
        (problem(403, "forbidden"), Rejected),
        (problem(409, "collision"), Conflict),
        (problem(413, "too-large"), Rejected),
        (problem(422, "wrong-guid"), Corrupt),
        (problem(502, "corrupt"), Corrupt),
        (problem(502, "store-refused"), Rejected),
        (Reply(502, {"content-type": "text/html"}), Unavailable),
        (problem(503, "unavailable"), Unavailable),
        (problem(507, "storage-full"), Unavailable),
        (Reply(504), Unavailable),
        (problem(429, "slow-down"), Unavailable),
        (Reply(301, {"location": "http://c"}), Rejected),
        (problem(500, "internal"), MillraceError),
    ],
)
def test_each_refusal_becomes_its_error(reply: Reply, kind: type[MillraceError]) -> None:
    with pytest.raises(MillraceError) as caught:
        client_of(Scripted("http://a", [reply])).delete(GUID)
    assert type(caught.value) is kind
    assert str(reply.status) in str(caught.value)
    assert "http://a" in str(caught.value)
    if reply.headers.get("content-type") == "application/problem+json":
        assert "the detail" in str(caught.value)
        assert "r-7" in str(caught.value)


def test_a_head_without_a_body_can_still_be_not_found() -> None:
    reply = Reply(404, {"content-type": "application/problem+json"})
    with pytest.raises(NotFound):
        client_of(Scripted("http://a", [reply])).stat(guid=GUID)


def test_stat_tells_what_the_headers_say() -> None:
    found = client_of(Scripted("http://a", [blob(**{"content-type": "text/plain"})])).stat(guid=GUID)
    assert (found.content, found.content_type) == (Content(GUID, SHA256, len(DATA)), "text/plain")


# -- waiting -----------------------------------------------------------------------------------------------------


def test_without_waiting_a_503_is_the_end() -> None:
    clock = Clock()
    with pytest.raises(Unavailable):
        client_of(Scripted("http://a", [problem(503, "unavailable")]), clock=clock).delete(GUID)
    assert clock.slept == []


def test_waiting_follows_retry_after_and_then_succeeds() -> None:
    clock = Clock()
    steps: list[Step] = [problem(503, "unavailable", retry_after="7"), problem(503, "x", retry_after="2"), Reply(204)]
    client_of(Scripted("http://a", steps), wait_s=60, clock=clock).delete(GUID)
    assert clock.slept == [7.0, 2.0]


def test_waiting_asks_every_gateway_before_it_pauses_for_the_least() -> None:
    clock = Clock()
    one = Scripted("http://a", [problem(503, "x", retry_after="9"), Reply(204)])
    two = Scripted("http://b", [problem(503, "x", retry_after="3")])
    client_of(one, two, wait_s=60, clock=clock).delete(GUID)
    assert clock.slept == [3.0]


@pytest.mark.parametrize("retry_after", ["30", "0", "soon", "Wed, 21 Oct 2026 07:28:00 GMT", "99999999999"])
def test_waiting_is_bounded_whatever_the_gateway_asks_for(retry_after: str) -> None:
    clock = Clock()
    steps: list[Step] = [problem(503, "x", retry_after=retry_after) for _ in range(200)]
    with pytest.raises(Unavailable):
        client_of(Scripted("http://a", steps), wait_s=12, clock=clock).delete(GUID)
    assert clock.now == pytest.approx(12)
    assert min(clock.slept[:-1], default=1) >= 0.1


def test_a_refusal_is_not_waited_for() -> None:
    gateway = Scripted("http://a", [problem(401, "unauthorized")])
    with pytest.raises(Rejected):
        client_of(gateway, Scripted("http://b", []), wait_s=60).delete(GUID)


def test_a_connection_that_its_server_closed_while_idle_is_made_anew() -> None:
    gateway = Scripted("http://a", [Broken("closed"), Reply(204)], used=True)
    client_of(gateway).delete(GUID)
    assert gateway.closed == 1
