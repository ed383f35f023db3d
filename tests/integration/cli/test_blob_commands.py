"""`millrace blob` as a user runs it: against a real node, and against gateways that misbehave."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.integration.cli.conftest import COMMAND, Misbehaving, environ, run
from tests.support.etcd_cluster import Authority
from tests.support.millrace_node import Node
from tests.support.ports import free_port
from tests.support.waiting import until

DATA = os.urandom(3_000_000)
MIB = 1024 * 1024


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


def head_of(data: bytes, *, size: int | None = None) -> bytes:
    return (
        f'HTTP/1.1 200 OK\r\nETag: "{md5(data)}"\r\nMillrace-SHA256: {hashlib.sha256(data).hexdigest()}\r\n'
        f"Content-Length: {len(data) if size is None else size}\r\n\r\n"
    ).encode()


# -- a real node -------------------------------------------------------------------------------------------------


def test_put_stat_get_rm(dev: Node, tmp_path: Path) -> None:
    one, two, back = tmp_path / "one", tmp_path / "two", tmp_path / "back"
    one.write_bytes(DATA)
    two.write_bytes(b"")
    put = run("blob", "put", str(one), str(two), url=dev.url)
    assert put.returncode == 0, put.stderr
    assert put.stdout.decode() == f"{md5(DATA)}  {len(DATA)}  {one}\n{md5(b'')}  0  {two}\n"
    assert put.stderr == b"", "no bar and no word without a terminal"

    stat = run("blob", "stat", md5(DATA), "--json", url=dev.url)
    assert json.loads(stat.stdout) == {
        "guid": md5(DATA),
        "sha256": hashlib.sha256(DATA).hexdigest(),
        "size": len(DATA),
        "content_type": "application/octet-stream",
    }
    for data, how in ((DATA, [md5(DATA)]), (b"", [md5(b"")]), (DATA, ["--sha256", hashlib.sha256(DATA).hexdigest()])):
        assert run("blob", "get", *how, "-o", str(back), url=dev.url).returncode == 0
        assert back.read_bytes() == data
        assert run("blob", "get", *how, url=dev.url).stdout == data
    assert run("blob", "rm", md5(DATA), md5(b""), url=dev.url).returncode == 0
    gone = run("blob", "get", md5(DATA), "-o", str(tmp_path / "gone"), url=dev.url)
    assert gone.returncode == 3
    assert gone.stderr.startswith(b"millrace: ")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["back", "one", "two"]


def test_put_json_and_type_and_guid(dev: Node) -> None:
    put = run(
        "blob",
        "put",
        "--json",
        "--content-type",
        "text/plain",
        "--guid",
        md5(b"hello"),
        "-",
        url=dev.url,
        data=b"hello",
    )
    assert json.loads(put.stdout) == {
        "guid": md5(b"hello"),
        "sha256": hashlib.sha256(b"hello").hexdigest(),
        "size": 5,
        "file": "-",
        "created": True,
    }
    assert json.loads(run("blob", "stat", "--json", md5(b"hello"), url=dev.url).stdout)["content_type"] == "text/plain"
    wrong = run("blob", "put", "--guid", "0" * 32, "-", url=dev.url, data=b"hello")
    assert wrong.returncode == 6


def test_one_file_that_fails_does_not_stop_the_others(dev: Node, tmp_path: Path) -> None:
    good = tmp_path / "good"
    good.write_bytes(b"good")
    put = run("blob", "put", str(tmp_path / "missing"), str(tmp_path), str(good), url=dev.url)
    assert put.returncode == 1
    assert put.stdout.decode().startswith(md5(b"good"))
    assert put.stderr.count(b"\n") == 2


def test_a_refused_token_ends_a_large_upload_early(dev: Node) -> None:
    """The reason reaches the user although the gateway never reads the body."""
    begun = time.monotonic()
    put = run("blob", "put", "-", url=dev.url, data=bytes(64 * MIB), MILLRACE_TOKEN="wrong-token-wrong-token")
    assert put.returncode == 5
    assert b"answered 401" in put.stderr
    assert b"MILLRACE_TOKEN" in put.stderr
    assert time.monotonic() - begun < 20


def test_the_token_comes_from_a_file(dev: Node, tmp_path: Path) -> None:
    token = str(dev.folder / "token")
    given = run("blob", "put", "-", "--token-file", token, url=dev.url, data=b"token", MILLRACE_TOKEN="wrong")
    assert given.returncode == 0, given.stderr
    named = run("blob", "put", "-", url=dev.url, data=b"token", MILLRACE_TOKEN="", MILLRACE_TOKEN_FILE=token)
    assert named.returncode == 0, named.stderr
    assert run("blob", "put", "-", "--token-file", str(tmp_path / "none"), url=dev.url, data=b"x").returncode == 2


def test_without_a_url_the_settings_name_the_gateway(dev: Node) -> None:
    assert run("blob", "put", "-", "--config", str(dev.config), data=b"by the settings").returncode == 0


def test_a_dead_gateway_is_passed_over(dev: Node) -> None:
    put = run("blob", "put", "-", url=f"http://127.0.0.1:{free_port()} {dev.url}", data=b"failover")
    assert put.returncode == 0, put.stderr


def test_no_gateway_at_all_is_unavailable() -> None:
    put = run("blob", "put", "-", url=f"http://127.0.0.1:{free_port()}", data=b"x")
    assert put.returncode == 4
    assert b"cannot connect" in put.stderr


_MEASURED = (
    "import sys\n"
    "from controlplane.cli.main import main\n"
    "code = main(sys.argv[1:])\n"
    "peak = next(line for line in open('/proc/self/status') if line.startswith('VmHWM'))\n"
    "print('PEAK', peak.split()[1], file=sys.stderr)\n"
    "sys.exit(code)\n"
)


def test_200_mib_pass_from_stdin_and_to_stdout_in_constant_memory(dev: Node) -> None:
    block, count, digest = os.urandom(MIB), 200, hashlib.md5()
    for _ in range(count):
        digest.update(block)
    put = subprocess.Popen(
        [sys.executable, "-c", _MEASURED, "blob", "put", "-"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environ(dev.url),
    )  # fmt: skip
    assert put.stdin is not None
    for _ in range(count):
        put.stdin.write(block)
    said, errors = put.communicate(timeout=60)
    assert put.returncode == 0, errors
    assert said.decode() == f"{digest.hexdigest()}  {count * MIB}  -\n"
    assert int(errors.split()[-1]) < 80 * 1024

    get = subprocess.Popen(
        [sys.executable, "-c", _MEASURED, "blob", "get", digest.hexdigest()],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environ(dev.url),
    )  # fmt: skip
    assert get.stdout is not None
    found = hashlib.md5()
    while chunk := get.stdout.read(MIB):
        found.update(chunk)
    errors = get.communicate(timeout=60)[1]
    assert get.returncode == 0, errors
    assert found.digest() == digest.digest()
    assert int(errors.split()[-1]) < 80 * 1024


def on_a_terminal(*arguments: str, url: str, stdin: bytes | None = None) -> tuple[int, bytes]:
    """Run with standard error on a pseudo-terminal; the exit code, and what the terminal was sent."""
    ours, theirs = pty.openpty()
    seen = bytearray()

    def watch() -> None:
        while True:
            try:
                chunk = os.read(ours, 65536)
            except OSError:  # how a terminal whose other side is closed ends
                return
            seen.extend(chunk)

    process = subprocess.Popen(
        [*COMMAND, *arguments], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=theirs,
        env=environ(url, TERM="xterm-256color", COLUMNS="100"),
    )  # fmt: skip
    os.close(theirs)
    watcher = threading.Thread(target=watch)
    watcher.start()
    process.communicate(stdin or b"", timeout=60)
    watcher.join()
    os.close(ours)
    return process.returncode, bytes(seen)


def test_a_terminal_shows_a_progress_bar_unless_quiet_is_asked_for(dev: Node, tmp_path: Path) -> None:
    file = tmp_path / "film.mkv"
    file.write_bytes(os.urandom(24 * MIB))
    code, seen = on_a_terminal("blob", "put", str(file), url=dev.url)
    assert code == 0
    assert b"film.mkv" in seen
    assert b"MiB" in seen
    code, seen = on_a_terminal("blob", "put", "-", url=dev.url, stdin=os.urandom(4 * MIB))
    assert code == 0
    assert b"MiB" in seen
    code, seen = on_a_terminal("blob", "get", md5(file.read_bytes()), "-o", str(tmp_path / "back"), url=dev.url)
    assert code == 0
    assert b"MiB" in seen
    assert on_a_terminal("blob", "put", "--quiet", str(file), url=dev.url) == (0, b"")


def test_a_reader_that_goes_away_is_no_error_message(dev: Node) -> None:
    data = os.urandom(8 * MIB)
    assert run("blob", "put", "-", url=dev.url, data=data).returncode == 0
    get = subprocess.Popen(
        [*COMMAND, "blob", "get", md5(data)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environ(dev.url)
    )
    assert get.stdout is not None
    assert len(get.stdout.read(100)) == 100
    get.stdout.close()
    assert get.stderr is not None
    with get.stderr:
        assert get.stderr.read() == b""
    assert get.wait(60) == 141


def test_devices_and_links_are_written_through(dev: Node, tmp_path: Path) -> None:
    assert run("blob", "put", "-", url=dev.url, data=b"linked").returncode == 0
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("old")
    link.symlink_to(target)
    assert run("blob", "get", md5(b"linked"), "-o", str(link), url=dev.url).returncode == 0
    assert link.is_symlink()
    assert target.read_bytes() == b"linked"
    assert run("blob", "get", md5(b"linked"), "-o", os.devnull, url=dev.url).returncode == 0
    assert Path(os.devnull).is_char_device()
    assert run("blob", "get", md5(b"linked"), "-o", str(tmp_path / "no" / "file"), url=dev.url).returncode == 1


# -- gateways that misbehave -------------------------------------------------------------------------------------


def test_wrong_bytes_exit_with_6_and_leave_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_text("as it was")

    def serve(connection: socket.socket, _head: bytes) -> None:
        connection.sendall(head_of(DATA) + DATA[:-1] + bytes([DATA[-1] ^ 1]))

    with Misbehaving(serve) as gateway:
        got = run("blob", "get", md5(DATA), "-o", str(target), url=gateway.url)
        assert got.returncode == 6
        assert b"MD5 should be" in got.stderr
        assert run("blob", "get", md5(DATA), url=gateway.url).returncode == 6
    assert target.read_text() == "as it was"
    assert os.listdir(tmp_path) == ["file"]


def test_a_body_that_ends_short_is_unavailable_and_leaves_nothing(tmp_path: Path) -> None:
    def serve(connection: socket.socket, _head: bytes) -> None:
        connection.sendall(head_of(DATA) + DATA[:1_500_000])

    with Misbehaving(serve) as gateway:
        got = run("blob", "get", md5(DATA), "-o", str(tmp_path / "file"), url=gateway.url)
    assert got.returncode == 4
    assert os.listdir(tmp_path) == []


def test_a_body_that_broke_off_is_taken_up_where_it_stopped(tmp_path: Path) -> None:
    half = 1_500_000

    def serve(connection: socket.socket, request: bytes) -> None:
        if b"range: bytes=" not in request.lower():
            connection.sendall(head_of(DATA) + DATA[:half])
            return
        first = int(request.lower().partition(b"range: bytes=")[2].partition(b"-")[0])
        partial = head_of(DATA, size=len(DATA) - first).replace(b"200 OK", b"206 Partial Content")
        where = f"\r\nContent-Range: bytes {first}-{len(DATA) - 1}/{len(DATA)}\r\n\r\n".encode()
        connection.sendall(partial.removesuffix(b"\r\n\r\n") + where + DATA[first:])

    with Misbehaving(serve) as gateway:
        target = tmp_path / "file"
        got = run("blob", "get", md5(DATA), "-o", str(target), "--wait", "10", url=gateway.url)
        assert got.returncode == 0, got.stderr
        assert len(gateway.heads) == 2
    assert target.read_bytes() == DATA


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_an_interrupted_download_leaves_nothing(tmp_path: Path, number: signal.Signals, code: int) -> None:
    half_sent = threading.Event()

    def serve(connection: socket.socket, _head: bytes) -> None:
        connection.sendall(head_of(DATA) + DATA[:2_500_000])
        half_sent.set()
        gateway.released.wait(100)

    with Misbehaving(serve) as gateway:
        got = subprocess.Popen(
            [*COMMAND, "blob", "get", md5(DATA), "-o", str(tmp_path / "file")],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environ(gateway.url),
        )  # fmt: skip
        assert half_sent.wait(60)
        # Two whole blocks have arrived: it is in the middle of the file.
        until(lambda: _written(got.pid) >= 2 * MIB, "the first bytes are in the file")
        got.send_signal(number)
        errors = got.communicate(timeout=60)[1]
    assert got.returncode == code
    assert errors == b""
    assert os.listdir(tmp_path) == []


def _written(pid: int) -> int:
    lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("wchar")))


def test_a_gateway_that_falls_silent_is_given_up() -> None:
    def serve(connection: socket.socket, _head: bytes) -> None:
        gateway.released.wait(100)

    with Misbehaving(serve) as gateway:
        got = run("blob", "get", md5(DATA), "--timeout", "0.5", url=gateway.url)
    assert got.returncode == 4
    assert b"no answer in time" in got.stderr


@pytest.mark.parametrize("answer", [b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n<html>", b""])
def test_what_is_no_gateway_is_unavailable(answer: bytes, tmp_path: Path) -> None:
    def serve(connection: socket.socket, _head: bytes) -> None:
        connection.sendall(answer)

    with Misbehaving(serve) as gateway:
        got = run("blob", "get", md5(DATA), "-o", str(tmp_path / "file"), url=gateway.url)
    assert got.returncode == 4
    assert os.listdir(tmp_path) == []


def test_retry_after_is_waited_for_within_the_time_given() -> None:
    calls: list[float] = []

    def serve(connection: socket.socket, _head: bytes) -> None:
        calls.append(time.monotonic())
        if len(calls) < 3:
            head = b"HTTP/1.1 503 Busy\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            connection.sendall(head)
        else:
            connection.sendall(head_of(DATA) + DATA)

    with Misbehaving(serve) as gateway:
        assert run("blob", "get", md5(DATA), url=gateway.url).returncode == 4
        got = run("blob", "get", md5(DATA), "--wait", "10", url=gateway.url)
    assert got.returncode == 0, got.stderr
    assert got.stdout == DATA
    assert calls[2] - calls[1] >= 0.9


def test_tls_is_trusted_by_its_authority_only(tmp_path: Path) -> None:
    authority = Authority.make(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.cert_file, authority.key_file)

    def serve(connection: socket.socket, _head: bytes) -> None:
        connection.sendall(head_of(DATA) + DATA)

    with Misbehaving(serve, context) as gateway:
        refused = run("blob", "get", md5(DATA), url=gateway.url)
        assert refused.returncode == 5
        assert b"--ca-file" in refused.stderr
        for how in ({"MILLRACE_CA_FILE": str(authority.ca_file)}, {}):
            more = [] if how else ["--ca-file", str(authority.ca_file)]
            got = run("blob", "get", md5(DATA), *more, url=gateway.url, **how)
            assert got.returncode == 0, got.stderr
            assert got.stdout == DATA
        assert run("blob", "get", md5(DATA), "--ca-file", str(tmp_path / "none"), url=gateway.url).returncode == 2


def test_a_file_that_shrinks_while_it_is_sent_is_not_acknowledged(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(bytes(40 * MIB))

    def serve(connection: socket.socket, _head: bytes) -> None:
        os.truncate(file, MIB)
        while connection.recv(MIB):
            pass

    with Misbehaving(serve) as gateway:
        put = run("blob", "put", str(file), url=gateway.url)
    assert put.returncode == 1
    assert b"became shorter" in put.stderr
