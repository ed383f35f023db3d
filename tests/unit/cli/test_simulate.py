"""`millrace simulate`: as its user runs it."""

from __future__ import annotations

import json

import pytest

from controlplane.cli.main import main


def test_a_cluster_that_fits(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "--nodes", "4", "--objects", "1e8", "--writes", "10"]) == 0
    said = capfd.readouterr().out
    assert "4 of 4" in said
    assert said.endswith("bends: nowhere\n")


def test_json_for_programs_and_where_it_bends(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "--nodes", "3", "--objects", "10e9", "--lose", "1", "--json"]) == 0
    document = json.loads(capfd.readouterr().out)
    assert document["load"]["objects"] == 10_000_000_000
    assert document["shards"]["needless"] == 0
    assert document["measured"]["scan_keys_s"] > 0
    assert any("catalog" in bend["what"] for bend in document["estimate"]["bends"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--nodes", "3", "--lose", "3"], "at least one must remain"),
        (["--objects", "many"], "'many' is not a whole number"),
        (["--objects", "0"], "'0' is not a whole number from 1 up"),
        (["--page-ms", "-1"], "'-1' is not a number above 0"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: list[str], said: str, capfd: pytest.CaptureFixture[str]) -> None:
    try:
        code: object = main(["simulate", *arguments])
    except SystemExit as ended:
        code = ended.code
    assert code == 2
    assert said in capfd.readouterr().err
