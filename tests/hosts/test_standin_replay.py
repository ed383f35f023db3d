"""The stand-in answers as the recorded Riak did, but for the differences that are listed with their reasons."""

import gzip
import http.client
import json
from pathlib import Path

import pytest

from tests.hosts.replay.run import listed, replay
from tests.hosts.standin.loopback import Standin


@pytest.mark.parametrize("name", ["kv.jsonl", "admin.jsonl", "s3.jsonl"])
def test_same_as_recorded(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Standin(tmp_path, hang=0.3) as standin:
        outcome = replay(standin, name)
    with capsys.disabled():
        print(f"\n{name}: {outcome}")
    known = listed(name)
    unexpected = {record: why for record, why in outcome.differing.items() if record not in known}
    assert not unexpected, "\n".join(f"{record}: {why}" for record, why in unexpected.items())
    assert set(known) <= set(outcome.differing), "listed as different, but the same by now"


def test_not_recorded_but_in_the_sources_of_riak(tmp_path: Path) -> None:
    with Standin(tmp_path, hang=0.3) as standin:
        connection = http.client.HTTPConnection(standin.kv_url[7:], timeout=20)

        def ask(
            method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
        ) -> tuple[int, str | None, bytes]:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.headers["Content-Encoding"], answer.read()

        ask("PUT", "/buckets/b/keys/k", b"one", {"Content-Type": "text/plain", "X-Riak-Index-x_bin": "a"})
        assert ask("GET", "/buckets/b/keys/k", headers={"Accept-Encoding": "identity"}) == (200, None, b"one")
        status, encoding, body = ask("GET", "/buckets/b/keys/k", headers={"Accept-Encoding": "gzip, deflate"})
        assert (status, encoding, gzip.decompress(body)) == (200, "gzip", b"one")
        assert ask("GET", "//buckets/b//keys/k/")[2] == b"one"
        terms = "?return_terms=true"
        assert json.loads(ask("GET", f"/buckets/b/index/x_bin/a/a{terms}")[2]) == {"results": [{"a": "k"}]}
        assert json.loads(ask("GET", f"/buckets/b/index/x_bin/a{terms}")[2]) == {"keys": ["k"]}
        assert json.loads(ask("GET", f"/buckets/b/index/x_bin//z{terms}")[2]) == {"keys": []}
        assert ask("GET", "/types/none/buckets/b/index/x_bin/a")[0] == 404
        connection.close()
