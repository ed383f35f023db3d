"""Conditional headers: every combination, in the precedence of RFC 9110; writes as S3 takes them."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.s3.conditions import (
    Failure,
    Found,
    Outcome,
    WriteCondition,
    delete_condition,
    read_conditions,
    write_condition,
)
from controlplane.s3.fault import Code, S3Fault
from controlplane.s3.sigv2 import http_date

ETAG, MODIFIED = "0123456789abcdef0123456789abcdef", 1_700_000_000.25

MATCH = {None: None, b'"%b"' % ETAG.encode(): True, b'"other"': False, b"*": True}
DATE = {None: None, http_date(1_700_000_000).encode(): True, http_date(1_699_999_999).encode(): False}
"""Header values, and whether they name the object's ETag, or a moment at which it was there already."""


@pytest.mark.parametrize("prefix", ["", "x-amz-copy-source-"])
def test_every_combination(prefix: str) -> None:
    for match, none, unmodified, modified in itertools.product(MATCH, MATCH, DATE, DATE):
        given_fields = [
            ((prefix + name).encode(), value)
            for name, value in (
                ("if-match", match), ("if-none-match", none),
                ("if-unmodified-since", unmodified), ("if-modified-since", modified),
            )
            if value is not None
        ]  # fmt: skip
        # RFC 9110, 13.2.2: step by step.
        wanted = Outcome.SERVE
        if MATCH[match] is False or (match is None and DATE[unmodified] is False):
            wanted = Outcome.FAILED
        elif MATCH[none] is True or (none is None and DATE[modified] is True):
            wanted = Outcome.NOT_MODIFIED
        assert read_conditions(given_fields, prefix).judge(ETAG, MODIFIED) is wanted


@pytest.mark.parametrize(
    ("header", "names"),
    [
        (f'"a", "{ETAG}"', True),
        (f'W/"{ETAG}"', True),
        (ETAG, True),  # s3cmd and others leave the quotes out
        (f'"a,{ETAG}"', False),  # a comma within quotes
        (f"a, {ETAG}", True),
        ('""', False),
        ("", False),
        (f'"{ETAG}-2"', False),
    ],
)
def test_lists_of_etags(header: str, names: bool) -> None:
    outcome = read_conditions([(b"if-match", header.encode())]).judge(ETAG, MODIFIED)
    assert outcome is (Outcome.SERVE if names else Outcome.FAILED)


def test_a_date_that_cannot_be_read_is_ignored() -> None:
    fields = [(b"if-modified-since", b"tomorrow"), (b"if-unmodified-since", b"\xff")]
    assert read_conditions(fields).judge(ETAG, MODIFIED) is Outcome.SERVE


@given(st.binary(max_size=50), st.binary(max_size=50))
def test_no_header_breaks_the_reader(match: bytes, date: bytes) -> None:
    fields = [(b"if-match", match), (b"if-none-match", match), (b"if-modified-since", date)]
    assert read_conditions(fields).judge(ETAG, MODIFIED) in Outcome
    try:
        write_condition(fields[:2])
    except S3Fault:
        pass


@pytest.mark.parametrize(
    ("fields", "condition"),
    [
        ([], None),
        ([(b"if-none-match", b"*")], WriteCondition(absent=True)),
        ([(b"if-none-match", b'"abc"')], WriteCondition(other_than="abc")),
        ([(b"if-match", b'"abc"')], WriteCondition(etag="abc")),
        ([(b"if-match", b"abc")], WriteCondition(etag="abc")),
        ([(b"if-match", b"*")], WriteCondition(etag="*")),
    ],
)
def test_conditions_of_writes(fields: list[tuple[bytes, bytes]], condition: WriteCondition | None) -> None:
    assert write_condition(fields) == condition


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ([(b"if-none-match", b'"a", "b"')], Code.INVALID_ARGUMENT),
        ([(b"if-none-match", b"*"), (b"if-match", b"*")], Code.NOT_IMPLEMENTED),
        ([(b"if-match", b'"a", "b"')], Code.INVALID_ARGUMENT),
        ([(b"if-match", b'"a"'), (b"if-match", b'"b"')], Code.INVALID_ARGUMENT),
        ([(b"if-unmodified-since", b"x")], Code.NOT_IMPLEMENTED),
        ([(b"if-modified-since", b"x")], Code.NOT_IMPLEMENTED),
    ],
)
def test_conditions_of_writes_that_nobody_would_check(fields: list[tuple[bytes, bytes]], code: Code) -> None:
    with pytest.raises(S3Fault) as caught:
        write_condition(fields)
    assert caught.value.code is code


HERE = Found("abc", 3, MODIFIED)


@pytest.mark.parametrize(
    ("condition", "here", "gone"),
    [
        (WriteCondition(absent=True), Failure.IF_NONE_MATCH, None),
        (WriteCondition(other_than="abc"), Failure.IF_NONE_MATCH, None),
        (WriteCondition(other_than="x"), None, None),
        (WriteCondition(etag="abc"), None, Failure.MISSING),
        (WriteCondition(etag="*"), None, Failure.MISSING),
        (WriteCondition(etag="x"), Failure.IF_MATCH, Failure.MISSING),
        (WriteCondition(etag="x", deletes=True), Failure.IF_MATCH, None),
        (WriteCondition(size=3, deletes=True), None, None),
        (WriteCondition(size=4, deletes=True), Failure.SIZE, None),
        (WriteCondition(modified_at=int(MODIFIED), deletes=True), None, None),
        (WriteCondition(modified_at=MODIFIED + 1, deletes=True), Failure.MODIFIED, None),
        (WriteCondition(etag="abc", size=4, deletes=True), Failure.SIZE, None),
    ],
)
def test_when_a_write_goes_ahead(condition: WriteCondition, here: Failure | None, gone: Failure | None) -> None:
    """`here`: the object is there; `gone`: there is none."""
    assert (condition.judge(HERE), condition.judge(None)) == (here, gone)


def test_a_delete_may_name_size_and_date() -> None:
    assert delete_condition([]) is None
    fields = [(b"if-match", b"a"), (b"x-amz-if-match-size", b"0"),
              (b"x-amz-if-match-last-modified-time", b"Thu, 01 Jan 2015 00:00:00 GMT")]  # fmt: skip
    assert delete_condition(fields) == WriteCondition(etag="a", size=0, modified_at=1420070400, deletes=True)


@pytest.mark.parametrize("name", [b"x-amz-if-match-size", b"x-amz-if-match-last-modified-time"])
@pytest.mark.parametrize("value", [b"", b"x", b"-1", b"\xb2", b"9" * 40])
def test_a_delete_by_what_cannot_be_read_is_refused(name: bytes, value: bytes) -> None:
    with pytest.raises(S3Fault) as caught:
        delete_condition([(name, value)])
    assert caught.value.code is Code.INVALID_ARGUMENT
