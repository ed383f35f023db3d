"""`millrace dev`, mirror, endpoints and doctor as an operator runs them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from controlplane.model.content import Content, Md5, Sha256
from controlplane.model.keys import Bucket, Key
from controlplane.model.task import Draft, Op
from controlplane.settings.load import load_settings
from controlplane.wiring.adapters import open_catalog, open_journal
from tests.integration.cli.conftest import COMMAND, Misbehaving, environ, run
from tests.support.etcd_cluster import Authority, EtcdCluster
from tests.support.millrace_node import Node
from tests.support.ports import free_port
from tests.support.waiting import until


@pytest.fixture(scope="module")
def etcd() -> Iterator[EtcdCluster]:
    with EtcdCluster(1) as cluster:
        yield cluster


def checks_of(ran: subprocess.CompletedProcess[bytes]) -> dict[str, dict[str, str]]:
    return {each["check"]: each for each in json.loads(ran.stdout)["checks"]}


def journal_with_one_failed_and_one_pending(file: Path) -> int:
    """The number of the dead letter."""
    settings = load_settings(file, {})
    settings.node.data_dir.mkdir()

    async def fill() -> int:
        journal = await open_journal(settings)
        await (await open_catalog(settings)).aclose()
        content = Content(Md5("0" * 32), Sha256("0" * 64), 1000)
        lost = await journal.append(Draft(Op.PUT, Bucket("b"), Key("blobs/lost"), content), time.time() - 60)
        await journal.append(Draft(Op.PUT, Bucket("b"), Key("blobs/kept"), content), time.time() - 30)
        await journal.bury(lost.seq, attempts=12, error="refused by the bucket")
        await journal.aclose()
        return lost.seq

    return asyncio.run(fill())


# -- dev ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_dev_runs_until_it_is_told_to_stop(tmp_path: Path, number: signal.Signals) -> None:
    node = Node(tmp_path / "node")
    process = node.start("dev")
    try:
        assert (
            node.cli(
                "blob",
                "put",
                "-",
                data=b"dev",
            ).returncode
            == 0
        )
        process.send_signal(number)
        assert process.wait(60) == 0
    finally:
        node.stop()


def test_a_taken_address_is_one_line(dev: Node, tmp_path: Path) -> None:
    ran = run("dev", "--data-dir", str(tmp_path / "data"), "--port", str(dev.port))
    assert ran.returncode == 5
    assert b"Traceback" not in ran.stderr
    assert b"millrace: " in ran.stderr.splitlines()[-1]


# -- mirror ------------------------------------------------------------------------------------------------------


def test_the_mirror_of_a_healthy_node(dev: Node) -> None:
    assert dev.cli("blob", "put", "-", data=b"mirrored").returncode == 0

    def mirrored() -> bool:
        found = json.loads(dev.cli("mirror", "status", "--json").stdout)
        return found["healthy"] and found["pending"] == 0 and found["blobs"]["mirrored"] > 0

    until(mirrored, "the copy is there")
    status = dev.cli("mirror", "status", "--max-age", "60")
    assert status.returncode == 0
    assert b"pending:" in status.stdout
    assert json.loads(dev.cli("mirror", "failed", "--json").stdout) == []


def test_dead_letters_are_shown_and_tried_again(settings_file: Path) -> None:
    seq = journal_with_one_failed_and_one_pending(settings_file)
    config = ["--config", str(settings_file)]
    status = run("mirror", "status", "--json", *config)
    assert status.returncode == 1
    found = json.loads(status.stdout)
    assert (found["pending"], found["pending_bytes"], found["failed"]) == (1, 1000, 1)
    assert 25 < found["oldest_age_s"] < 250
    failed = json.loads(run("mirror", "failed", "--json", *config).stdout)
    assert [(each["seq"], each["op"], each["key"], each["attempts"], each["error"]) for each in failed] == [
        (seq, "put", "blobs/lost", 12, "refused by the bucket")
    ]
    table = run("mirror", "failed", *config).stdout.decode().splitlines()
    assert table[0].split() == ["SEQ", "RULE", "OP", "KEY", "ATTEMPTS", "FAILURE", "ERROR"]
    assert str(seq) in table[1]
    wrong = run("mirror", "retry", str(seq + 1), *config)
    assert wrong.returncode == 3
    for command in ("failed", "retry"):
        wrong = run("mirror", command, "--rule", "nobody", *config)
        assert (wrong.returncode, b"no mirror rule nobody: there are blobs" in wrong.stderr) == (3, True)
    assert run("mirror", "retry", str(seq), *config).stdout == b"1 to be tried again\n"
    assert json.loads(run("mirror", "retry", "--all", "--json", *config).stdout) == {"revived": 0}
    assert run("mirror", "failed", "--rule", "blobs", *config).returncode == 0
    assert run("mirror", "status", *config).returncode == 0
    assert run("mirror", "status", "--max-age", "5", *config).returncode == 1


def test_a_dead_letter_is_looked_at_and_dropped_with_a_reason(settings_file: Path) -> None:
    seq = journal_with_one_failed_and_one_pending(settings_file)
    config = ["--config", str(settings_file)]
    found = json.loads(run("mirror", "inspect", str(seq), "--json", *config).stdout)
    assert (found["seq"], found["rule"], found["state"], found["error"]) == (
        seq,
        "blobs",
        "failed",
        "refused by the bucket",
    )
    assert b"refused by the bucket" in run("mirror", "inspect", str(seq), *config).stdout
    assert run("mirror", "inspect", "7", *config).returncode == 3
    assert run("mirror", "drop", str(seq), *config).returncode == 2  # not without a reason
    assert run("mirror", "drop", str(seq), "--reason", " ", *config).returncode == 2
    assert run("mirror", "drop", str(seq), "--reason", "nobody wants it", *config).stdout == b"1 dropped\n"
    assert run("mirror", "drop", str(seq), "--reason", "again", *config).returncode == 3
    assert json.loads(run("mirror", "failed", "--json", *config).stdout) == []
    (record,) = json.loads(run("mirror", "failed", "--dropped", "--json", *config).stdout)
    assert record["seq"] == seq
    assert record["reason"].endswith(": nobody wants it")
    assert run("mirror", "status", *config).returncode == 0


def test_a_pause_is_shown_until_it_ends(settings_file: Path) -> None:
    journal_with_one_failed_and_one_pending(settings_file)
    config = ["--config", str(settings_file)]

    def paused() -> list[bool]:
        return [rule["paused"] for rule in json.loads(run("mirror", "status", "--json", *config).stdout)["rules"]]

    assert run("mirror", "pause", *config).returncode == 2
    assert run("mirror", "pause", "unheard-of", *config).returncode == 3
    assert run("mirror", "pause", "blobs", *config).stdout == b"paused: blobs\n"
    assert paused() == [True]
    assert run("mirror", "resume", "--all", *config).returncode == 0
    assert paused() == [False]
    assert run("mirror", "resume", "blobs", *config).returncode == 3
    assert run("mirror", "pause", "--all", *config).returncode == 0
    assert paused() == [True]


def test_looking_makes_no_journal(settings_file: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    ran = run("mirror", "status", "--config", str(settings_file))
    assert ran.returncode == 3
    assert b"there is no journal" in ran.stderr
    assert list((tmp_path / "data").iterdir()) == []


def test_root_goes_on_as_the_owner_of_the_data(tmp_path: Path) -> None:
    """SQLite's side files made by root would shut the service out."""
    owner = 65534 if os.geteuid() == 0 else os.geteuid()
    os.chown(tmp_path, owner, -1)
    script = (
        "import os, pathlib, sys\n"
        "from controlplane.cli.settings_source import become_owner\n"
        "become_owner(pathlib.Path(sys.argv[1]))\n"
        "print(os.getresuid(), os.getresgid(), os.getgroups())"
    )
    ran = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True)
    assert ran.stdout.startswith(str((owner, owner, owner)))


# -- endpoints ---------------------------------------------------------------------------------------------------


def test_without_etcd_there_is_nothing_to_ask(dev: Node) -> None:
    for command in ("list", "watch"):
        ran = dev.cli("endpoints", command)
        assert ran.returncode == 2
        assert b"directory.etcd.endpoints" in ran.stderr


def test_endpoints_are_listed_watched_and_used(etcd: EtcdCluster, tmp_path: Path) -> None:
    node = Node(tmp_path / "node", etcd=etcd.urls)
    config = ["--config", str(node.config)]
    empty = run("endpoints", "list", *config)
    assert (empty.returncode, empty.stdout) == (0, b"")
    assert run("blob", "put", "-", *config, data=b"x").returncode == 4
    watch = subprocess.Popen(
        [*COMMAND, "endpoints", "watch", "--json", *config],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environ(),
    )
    assert watch.stdout is not None
    try:
        node.start("dev")
        added = json.loads(watch.stdout.readline())
        assert (added["change"], added["endpoint"]["node"], added["endpoint"]["url"]) == ("added", "node1", node.url)
        listed = json.loads(run("endpoints", "list", "--json", *config).stdout)
        assert [each["url"] for each in listed["endpoints"]] == [node.url]
        assert node.url.encode() in run("endpoints", "list", *config).stdout
        found = run("blob", "put", "-", *config, data=b"found by etcd")
        assert found.returncode == 0, found.stderr
        node.stop()
        removed = json.loads(watch.stdout.readline())
        assert (removed["change"], removed["endpoint"]["node"]) == ("removed", "node1")
        assert removed["revision"] > added["revision"]
        watch.send_signal(signal.SIGINT)
        errors = watch.communicate(timeout=60)[1]
        assert (watch.returncode, errors) == (130, b"")
    finally:
        node.stop()
        if watch.poll() is None:
            watch.kill()
            watch.communicate()


def test_etcd_that_is_away_is_not_an_empty_set(tmp_path: Path) -> None:
    node = Node(tmp_path / "node", etcd=(f"http://127.0.0.1:{free_port()}",))
    assert run("endpoints", "list", "--config", str(node.config)).returncode == 4
    assert run("blob", "put", "-", "--config", str(node.config), data=b"x").returncode == 4


def test_a_rule_that_has_work_and_does_nothing_is_unhealthy(settings_file: Path) -> None:
    """And one that is paused, or has nothing to do, is not."""
    settings = load_settings(settings_file, {})
    settings.node.data_dir.mkdir()

    async def fill() -> None:
        journal = await open_journal(settings)
        content = Content(Md5("0" * 32), Sha256("0" * 64), 1000)
        await (await open_catalog(settings)).aclose()
        await journal.append(Draft(Op.PUT, Bucket("b"), Key("blobs/kept"), content), time.time() - 400)
        await journal.aclose()

    asyncio.run(fill())
    config = ["--config", str(settings_file)]
    ran = run("mirror", "status", "--json", "--max-age", "3600", *config)
    (blobs,) = json.loads(ran.stdout)["rules"]
    assert (ran.returncode, blobs["stalled"]) == (1, True)
    assert b"blobs has work and does nothing" in run("mirror", "status", *config).stdout
    assert run("mirror", "pause", "--all", *config).returncode == 0
    ran = run("mirror", "status", "--max-age", "3600", *config)
    assert ran.returncode == 0
    assert b"paused" in ran.stdout


# -- doctor ------------------------------------------------------------------------------------------------------


def test_a_running_node_is_well(dev: Node) -> None:
    ran = dev.cli("doctor", "--json")
    found = checks_of(ran)
    assert ran.returncode == 0, ran.stdout
    for name in ("settings", "data_dir", "journal", "catalog", "hot cache", "primary store", "persistent store",
                 "gateway", "gateway admin", "agent admin", "tokens"):  # fmt: skip
        assert found[name]["result"] == "ok", found[name]
    lines = dev.cli("doctor").stdout.decode().splitlines()
    assert len(lines) == len(found)
    assert list(dev.folder.glob("p*/objects/**/*doctor*")) == []


def test_a_part_that_hangs_hides_no_other_and_is_named(tmp_path: Path, etcd: EtcdCluster) -> None:
    """A store that accepts and says nothing; one etcd member of two that is down; a gateway that does not run."""

    def serve(_connection: socket.socket, _head: bytes) -> None:
        silent.released.wait(100)

    with Misbehaving(serve) as silent:
        store = {"kind": "s3", "endpoints": [silent.url], "bucket": "mirror"}
        dead = f"http://127.0.0.1:{free_port()}"
        node = Node(tmp_path / "node", persistent=store, etcd=(*etcd.urls, dead))
        begun = time.monotonic()
        ran = node.cli("doctor", "--json", "--timeout", "3")
        assert time.monotonic() - begun < 50  # not the store's 60, on a busy machine too
    found = checks_of(ran)
    assert ran.returncode == 1
    assert found["persistent store"]["result"] == "fail"
    assert found["persistent store"]["advice"]
    assert found[f"etcd member {etcd.urls[0]}"]["result"] == "ok"
    assert found[f"etcd member {dead}"]["result"] == "warn"
    assert found["gateway"]["result"] == "warn"
    assert found["data_dir"]["result"] == "ok"


def test_a_store_that_is_not_there_yet_is_not_made(settings_file: Path, tmp_path: Path) -> None:
    ran = run("doctor", "--json", "--config", str(settings_file))
    assert checks_of(ran)["persistent store"]["result"] == "warn"
    assert [each.name for each in tmp_path.iterdir()] == ["millrace.toml"]


def test_the_certificate_is_judged_by_its_own_words(tmp_path: Path) -> None:
    authority = Authority.make(tmp_path / "tls")
    other = Authority.make(tmp_path / "other")

    def certificate(cert: Path, key: Path) -> dict[str, str]:
        tls = {"gateway.tls": {"cert_file": str(cert), "key_file": str(key)}}
        node = Node(tmp_path / "node", extra=tls)
        return checks_of(node.cli("doctor", "--json"))["certificate"]

    good = certificate(authority.cert_file, authority.key_file)
    assert good["result"] == "warn", "it is good for a day only"
    assert "127.0.0.1" in good["found"]
    mixed = certificate(authority.cert_file, other.key_file)
    assert mixed["result"] == "fail"
    assert "belong together" in mixed["found"]
