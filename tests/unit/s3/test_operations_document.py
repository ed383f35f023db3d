"""docs/s3.md says of every operation what the code does, and names recordings that exist."""

from __future__ import annotations

import re
from pathlib import Path

from controlplane.s3.operation import Operation
from tests.hosts.replay.player import recordings

PAGE = (Path(__file__).parents[3] / "docs" / "s3.md").read_text()
SERVED, _, REST = PAGE.partition("## 501 NotImplemented")
UNSERVED, _, _ = REST.partition("## Who may")
ROW = re.compile(r"^\| `(\w+)` \| (.*?) \| (.*?) \|$", re.MULTILINE)


def test_every_served_operation_has_its_row() -> None:
    assert sorted(name for name, _, _ in ROW.findall(SERVED)) == sorted(at.value for at in Operation if at.served)


def test_every_other_one_is_listed_as_501() -> None:
    listed = re.findall(r"`([A-Z]\w+)`", UNSERVED)
    assert sorted(listed) == sorted(at.value for at in Operation if not at.served)


def test_the_recordings_exist() -> None:
    known = {record["name"] for record in recordings("s3.jsonl")}
    named = {name for _, alone, _ in ROW.findall(SERVED) for name in re.findall(r"`([a-z0-9]+(?:-\w+)+)`", alone)}
    assert len(named) > 40
    assert named - {"max-keys"} <= known
