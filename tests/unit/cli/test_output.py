"""What is printed: aligned for people, JSON for programs, harmless for terminals."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.cli import output


@given(st.text())
def test_nothing_that_is_printed_can_steer_a_terminal(text: str) -> None:
    assert all(c.isprintable() or "\udc80" <= c <= "\udcff" for c in output.plain(text))


@given(st.text(st.characters(codec="utf-8")).filter(str.isprintable))
def test_what_is_printable_stays_as_it_is(text: str) -> None:
    assert output.plain(text) == text


def test_names_that_are_not_utf8_go_out_as_the_bytes_they_are(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    output.line(b"caf\xe9".decode("utf-8", "surrogateescape"))
    assert capfdbinary.readouterr().out == b"caf\xe9\n"


def test_an_error_is_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    output.error("one\ntwo\x1b[2J")
    assert capfd.readouterr().err == "millrace: one two\\x1b[2J\n"


def test_columns_align(capfd: pytest.CaptureFixture[str]) -> None:
    output.table(("A", "LONG"), [("wide cell", "x"), ("y", "")])
    assert capfd.readouterr().out == "A          LONG\nwide cell  x\ny\n"


def test_a_record_is_one_line_of_json(capfd: pytest.CaptureFixture[str]) -> None:
    output.record({"file": "a\nb"})
    out = capfd.readouterr().out
    assert out.count("\n") == 1
    assert json.loads(out) == {"file": "a\nb"}


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1536, "1.5 KiB"), (2**60, "1024.0 PiB")]
)
def test_sizes(count: int, text: str) -> None:
    assert output.size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (9.5, "9.5 s"),
        (59, "59 s"),
        (60, "1 min"),
        (125, "2 min 5 s"),
        (3600, "1 h"),
        (273_600, "3 d 4 h"),
    ],
)
def test_spans(seconds: float, text: str) -> None:
    assert output.span(seconds) == text
