"""Replays the raw exchanges of a recording: what goes over one connection, written as it was written then."""

from __future__ import annotations

import datetime as dt
import re
import socket
from collections.abc import Iterator
from typing import Any

from tests.hosts.replay import signing
from tests.hosts.replay.player import Answer, Player, Record

_BEGIN = re.compile(r"(?=^[A-Z]+ \S+ HTTP/1\.[01]\r\n)|(?<=pipe)(?=GET )", re.MULTILINE)
_SILENCE_S = 1.0
"""What was recorded as no answer within 6 s."""
_ENDED = "the connection ended"
"""Whether it was closed or reset is a matter of which of both came first."""
_REBUILT = {
    "conn-refused-put-with-body": ("/rec-c-main/anonbody", False),
    "conn-missing-bucket-put-with-body": ("/rec-c-none/k", True),
}
"""Where the recording keeps the number of bytes alone: a PUT of 100,000; the path, and whether it is signed."""


def differs(play: Player, record: Record) -> str | None:
    """What is not as recorded, or None."""
    wanted = iter(record["response"]["sequence"])
    with socket.create_connection(_place(play), timeout=20) as sock:
        sock.settimeout(_SILENCE_S)
        pending = bytearray()
        for raw in record["request"]["raw"]:
            requests = list(_requests(play, record["name"], raw))
            try:
                sock.sendall(b"".join(request for _, request in requests))
            except (ConnectionResetError, BrokenPipeError):
                pass  # what came before it is read below
            for method, _ in requests:
                recorded = next(wanted, None)
                if recorded is None:
                    break
                found = _answer(sock, pending, method)
                if isinstance(found, str) or "error" in recorded:
                    said = recorded.get("error", f"status {recorded.get('status')}").partition(":")[0]
                    said = _ENDED if said in ("EOFError", "ConnectionResetError") else said
                    if found != said:
                        return f"{found if isinstance(found, str) else found.status}, recorded {said}"
                    return None
                problem = play.same({**record, "request": {"to": "127.0.0.1:8080"}, "response": recorded}, found)
                if problem is not None:
                    return problem
        closed = _answer(sock, pending, "GET") != "TimeoutError"
        if closed != (record["response"]["connection_after"] == "closed"):
            return f"the connection is {'closed' if closed else 'open'} afterwards"
    return None


def _place(play: Player) -> tuple[str, int]:
    host, _, port = play.places["127.0.0.1:8080"].partition(":")
    return host, int(port)


def _requests(play: Player, name: str, raw: Any) -> Iterator[tuple[str, bytes]]:
    if isinstance(raw, dict):
        path, signed = _REBUILT[name]
        sha = (
            "x-amz-content-sha256: UNSIGNED-PAYLOAD\r\nAuthorization: AWS4-HMAC-SHA256 <redacted>\r\n" if signed else ""
        )
        head = f"PUT {path} HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n{sha}Content-Length: 100000\r\n\r\n"
        yield "PUT", _signed(play, head) + bytes(100_000)
        return
    for text in [part for part in _BEGIN.split(raw) if part]:
        yield text.split(" ", 1)[0], _signed(play, text)


def _signed(play: Player, text: str) -> bytes:
    """With the date of now, the address of the stand-in, and alice's signature where there was one."""
    head, _, body = text.partition("\r\n\r\n")
    line, *rows = head.split("\r\n")
    headers = {name: value for name, _, value in (row.partition(": ") for row in rows)}
    if "Host" in headers:
        headers["Host"] = play.places["127.0.0.1:8080"]
    if "Authorization" in headers:
        method, target, _ = line.split(" ")
        del headers["Authorization"]
        headers.pop("x-amz-date", None)
        headers |= signing.v4(method, target, "", headers, *play.people["alice"], dt.datetime.now(dt.UTC))
    rows = [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([line, *rows, "", body]).encode("latin-1") if rows else text.encode("latin-1")


def _answer(sock: socket.socket, pending: bytearray, method: str) -> Answer | str:
    """Or the name of the error that there was instead."""
    try:
        while b"\r\n\r\n" not in pending:
            _more(sock, pending)
        end = pending.index(b"\r\n\r\n")
        line, *rows = pending[:end].decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (row.partition(": ") for row in rows)}
        size = 0 if method == "HEAD" else int(headers.get("content-length", 0))
        while len(pending) < end + 4 + size:
            _more(sock, pending)
    except TimeoutError:
        return "TimeoutError"
    except (EOFError, ConnectionResetError):
        return _ENDED
    body = bytes(pending[end + 4 : end + 4 + size])
    del pending[: end + 4 + size]
    _, status, reason = line.split(" ", 2)
    return Answer(int(status), reason, headers, body)


def _more(sock: socket.socket, pending: bytearray) -> None:
    data = sock.recv(1 << 16)
    if not data:
        raise EOFError
    pending += data
