"""The stand-in answers as the recorded Riak did, but for the differences that are listed with their reasons."""

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
