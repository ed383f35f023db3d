"""Policies are read strictly; conditions follow AWS's rules."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.s3.access.conditions import Context, condition_of
from controlplane.s3.access.patterns import matches, may_continue, pattern_of
from controlplane.s3.access.policy import MAX_BYTES, parse_policy
from controlplane.s3.access.policy_match import effect_of
from controlplane.s3.access.principals import ANONYMOUS
from controlplane.s3.fault import Code, S3Fault

GOOD: dict[str, Any] = {
    "Version": "2012-10-17",
    "Statement": [
        {"Sid": "s", "Effect": "Allow", "Principal": "*", "Action": ["s3:GetObject"], "Resource": "arn:aws:s3:::b/*"}
    ],
}


def changed(**changes: Any) -> dict[str, Any]:
    only = {name: value for name, value in (GOOD["Statement"][0] | changes).items() if value is not None}
    return GOOD | {"Statement": [only]}


def test_what_riak_cs_takes_is_taken() -> None:
    """Recordings policy-put-star, policy-put-aws-star-2008, policy-put-canonical, policy-put-source-ip,
    policy-put-secure-transport, policy-put-wildcard-action."""
    for document in (
        GOOD,
        GOOD | {"Version": "2008-10-17"},
        GOOD | {"Statement": GOOD["Statement"][0], "Id": "x"},
        changed(Principal={"CanonicalUser": "6" * 64}),
        changed(Principal={"AWS": "*"}),
        changed(Condition={"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}}),
        changed(Condition={"Bool": {"aws:SecureTransport": "false"}}),
        changed(Condition={"Bool": {"aws:SecureTransport": False}}),
        changed(Action="s3:*"),
        changed(Resource=["arn:aws:s3:::b", "arn:aws:s3:::b/*"], Action="s3:ListBucket"),
        changed(Resource="arn:aws:s3:::*/x"),
        changed(Resource="*"),
    ):
        assert parse_policy(json.dumps(document).encode(), "b").statements


@pytest.mark.parametrize(
    "document",
    [
        # policy-put-empty-object, policy-put-no-statement (503 of Riak CS), policy-put-bad-version
        {},
        GOOD | {"Statement": []},
        GOOD | {"Version": "2020-01-01"},
        GOOD | {"Version": 2012},
        GOOD | {"Statement": None},
        [],
        "x",
        3,
        None,
        GOOD | {"Extra": 1},
        GOOD | {"Id": 3},
        GOOD | {"Statement": ["x"]},
        # policy-put-unknown-action, policy-put-other-bucket, policy-put-unknown-condition, policy-put-source-ip-bad
        changed(Action="s3:Nonsense"),
        changed(Action=[]),
        changed(Action=None),
        changed(Action=["s3:GetObject", 3]),
        changed(Action="ec2:RunInstances"),
        changed(Action=""),
        changed(NotAction="s3:GetObject"),
        changed(Resource="arn:aws:s3:::other/*"),
        changed(Resource="arn:aws:s3:::bb/*"),
        changed(Resource="b/*"),
        changed(Resource="arn:aws:s3:eu-west-1:1:b/*"),
        changed(Resource="arn:aws:s3:::${aws:username}/*"),
        changed(Resource=None),
        changed(Resource=[]),
        changed(NotResource="arn:aws:s3:::b/x"),
        changed(Condition={"Foo": {"aws:SourceIp": "1.2.3.4"}}),
        changed(Condition={"IpAddress": {"aws:SourceIp": "abc"}}),
        changed(Condition=[]),
        changed(Condition={"StringEquals": {}}),
        changed(Condition={"StringEquals": "x"}),
        changed(Condition={"StringEquals": {"aws:NoSuchKey": "x"}}),
        changed(Condition={"StringEquals": {"s3:prefix": []}}),
        changed(Condition={"StringEquals": {"s3:prefix": {"a": 1}}}),
        changed(Condition={"StringEquals": {"s3:prefix": None}}),
        changed(Condition={"NumericLessThan": {"s3:max-keys": "many"}}),
        changed(Condition={"Bool": {"aws:SecureTransport": "si"}}),
        changed(Condition={"DateLessThan": {"aws:CurrentTime": "soon"}}),
        changed(Condition={"Null": {"s3:prefix": "x"}}),
        changed(Condition={"NullIfExists": {"s3:prefix": "true"}}),
        changed(Condition={"ArnLike": {"aws:PrincipalArn": "bob"}}),
        changed(Condition={"StringEquals": {"s3:ExistingObjectTag/": "x"}}),
        changed(Effect="Maybe"),
        changed(Effect=None),
        changed(Sid=3),
        changed(Extra="x"),
        changed(Principal=None),
        changed(Principal="arn"),
        changed(Principal={}),
        changed(NotPrincipal="*"),
        changed(Principal={"AWS": "bob"}),
        changed(Principal={"AWS": []}),
        changed(Principal={"CanonicalUser": "x"}),
        changed(Principal={"Service": "logging.s3.amazonaws.com"}),
        changed(Principal={"Federated": "x"}),
        changed(Principal={"AWS": "arn:aws:iam::111111111111:role/r"}),
        changed(Action="s3:ListBucket"),
        changed(Resource="arn:aws:s3:::b"),
    ],
)
def test_what_has_no_meaning_is_malformed(document: object) -> None:
    with pytest.raises(S3Fault) as caught:
        parse_policy(json.dumps(document).encode(), "b")
    assert caught.value.code is Code.MALFORMED_POLICY


@pytest.mark.parametrize(
    "document",
    [
        b"zzz", b"", b"\xff", b'{"Version":"2012-10-17","Version":"2012-10-17"}', b"[" * 20_000, b'{"Version": NaN}',
        json.dumps(changed(Sid="x" * MAX_BYTES)).encode(),
    ],
)  # fmt: skip
def test_policy_put_malformed_and_the_like(document: bytes) -> None:
    with pytest.raises(S3Fault) as caught:
        parse_policy(document, "b")
    assert caught.value.code is Code.MALFORMED_POLICY


names = st.sampled_from(
    ["Version", "Statement", "Effect", "Principal", "AWS", "Action", "Resource", "Condition", "Bool"]
)
trees = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
)


@given(trees)
def test_no_json_breaks_the_reader(document: object) -> None:
    refusal = None
    try:
        parse_policy(json.dumps(document).encode(), "b")
    except S3Fault as fault:
        refusal = fault.code
    assert refusal in (None, Code.MALFORMED_POLICY)


ABSENT: None = None


@pytest.mark.parametrize(
    ("operator", "wanted", "value", "holds"),
    [
        ("StringEquals", ["a", "b"], "b", True),
        ("StringEquals", ["a"], "A", False),
        ("StringEquals", ["a*"], "ab", False),
        ("StringEquals", ["a"], ABSENT, False),
        ("StringEqualsIfExists", ["a"], ABSENT, True),
        ("StringEqualsIfExists", ["a"], "b", False),
        ("StringNotEquals", ["a", "b"], "b", False),
        ("StringNotEquals", ["a", "b"], "c", True),
        ("StringNotEquals", ["a"], ABSENT, True),
        ("StringEqualsIgnoreCase", ["Ab"], "aB", True),
        ("StringNotEqualsIgnoreCase", ["Ab"], "aB", False),
        ("StringLike", ["a*c?"], "abbcd", True),
        ("StringLike", ["a*c?"], "abbc", False),
        ("StringNotLike", ["a*"], "ab", False),
        ("stringlike", ["*"], "", True),
        ("NumericEquals", ["10"], "10.0", True),
        ("NumericNotEquals", ["10"], "10", False),
        ("NumericLessThan", ["10"], "9", True),
        ("NumericLessThan", ["10"], "10", False),
        ("NumericLessThanEquals", ["10"], "10", True),
        ("NumericGreaterThan", ["10"], "11", True),
        ("NumericGreaterThanEquals", ["10"], "9", False),
        ("NumericLessThan", ["10"], "x", False),
        ("NumericLessThan", ["10"], "NaN", False),
        ("DateLessThan", ["2026-11-23T00:00:00Z"], "2026-11-22T21:51:49Z", True),
        ("DateGreaterThan", ["1795384308"], "2026-11-22T21:51:49Z", True),
        ("DateEquals", ["2026-11-22T22:51:49+01:00"], "2026-11-22T21:51:49Z", True),
        ("DateNotEquals", ["2026-11-22"], "2026-11-22T00:00:00Z", False),
        ("Bool", ["true"], "true", True),
        ("Bool", ["false"], "true", False),
        ("Bool", ["false"], ABSENT, False),
        ("BoolIfExists", ["false"], ABSENT, True),
        ("BinaryEquals", ["QQ=="], "QQ==", True),
        ("IpAddress", ["10.0.0.0/8", "2001:db8::/32"], "10.1.2.3", True),
        ("IpAddress", ["10.0.0.0/8"], "11.0.0.1", False),
        ("IpAddress", ["2001:db8::/32"], "2001:db8::1", True),
        ("IpAddress", ["10.0.0.0/8"], "2001:db8::1", False),
        ("IpAddress", ["10.0.0.7"], "10.0.0.7", True),
        ("IpAddress", ["10.0.0.0/8"], "::ffff:10.0.0.1", True),
        ("IpAddress", ["10.0.0.0/8"], "unknown", False),
        ("NotIpAddress", ["10.0.0.0/8"], "10.1.1.1", False),
        ("NotIpAddress", ["10.0.0.0/8"], "11.0.0.1", True),
        ("ArnEquals", ["arn:aws:iam::1:user/*"], "arn:aws:iam::1:user/bob", True),
        ("ArnLike", ["arn:aws:iam::*:user/b?b"], "arn:aws:iam::1:user/bob", True),
        ("ArnLike", ["arn:*:user/bob:::"], "arn:aws:iam::1:user/bob", False),
        ("ArnNotLike", ["arn:aws:iam::1:user/*"], "arn:aws:iam::2:user/bob", True),
        ("Null", ["true"], ABSENT, True),
        ("Null", ["true"], "x", False),
        ("Null", ["false"], "x", True),
        ("Null", ["false"], ABSENT, False),
    ],
)
def test_condition_operators(operator: str, wanted: list[str], value: str | None, holds: bool) -> None:
    context = Context({} if value is None else {"aws:key": (value,)})
    assert condition_of(operator, "aws:Key", wanted).holds(context) is holds


@pytest.mark.parametrize(
    ("operator", "present", "holds"),
    [
        ("ForAllValues:StringEquals", ("a", "b"), True),
        ("ForAllValues:StringEquals", ("a", "x"), False),
        ("ForAllValues:StringEquals", (), True),
        ("ForAnyValue:StringEquals", ("x", "a"), True),
        ("ForAnyValue:StringEquals", ("x",), False),
        ("ForAnyValue:StringEquals", (), False),
        ("ForAllValues:StringNotEquals", ("x", "y"), True),
        ("ForAllValues:StringNotEquals", ("x", "a"), False),
        ("ForAnyValue:StringNotEquals", ("a", "x"), True),
        ("ForAnyValue:StringNotEquals", ("a", "b"), False),
        ("ForAnyValue:StringLike", ("zb",), False),
    ],
)
def test_quantifiers(operator: str, present: tuple[str, ...], holds: bool) -> None:
    assert condition_of(operator, "s3:RequestObjectTagKeys", ["a", "b"]).holds(
        Context({"s3:requestobjecttagkeys": present} if present else {})
    ) is holds  # fmt: skip


def test_values_of_conditions_may_be_variables() -> None:
    condition = condition_of("StringEquals", "s3:prefix", ["home/${aws:username}/"])
    values = {"s3:prefix": ("home/bob/",)}
    assert condition.holds(Context(values | {"aws:username": ("bob",)}))
    assert not condition.holds(Context(values | {"aws:username": ("eve",)}))
    assert not condition.holds(Context(values))


def slow(pattern: str, text: str) -> bool:
    """What a pattern means, by the book."""
    if not pattern:
        return not text
    if pattern[0] == "*":
        return slow(pattern[1:], text) or (bool(text) and slow(pattern, text[1:]))
    return bool(text) and pattern[0] in ("?", text[0]) and slow(pattern[1:], text[1:])


@given(st.text("ab*?", max_size=8), st.text("ab", max_size=8))
def test_patterns_mean_what_they_say(pattern: str, text: str) -> None:
    assert matches(pattern_of(pattern), text) is slow(pattern, text)


@given(st.text("ab*?", max_size=6), st.text("ab", max_size=3))
def test_what_may_continue(pattern: str, prefix: str) -> None:
    """Some longer text matches; six more characters are enough to find it."""

    def longer(text: str, left: int) -> bool:
        return left > 0 and any(slow(pattern, text + char) or longer(text + char, left - 1) for char in "ab")

    assert may_continue(pattern_of(pattern), prefix) is longer(prefix, 6)


@pytest.mark.parametrize("piece", ["a", "?", "a?"])
def test_a_policy_made_to_be_slow_is_judged_at_once(piece: str) -> None:
    """Twenty kilobytes of patterns that nearly match a key of a kilobyte, many times over."""
    hostile = [f"arn:aws:s3:::b/*{piece * (480 // len(piece) + n)}b" for n in range(30)]
    policy = parse_policy(json.dumps(changed(Resource=hostile)).encode(), "b")
    key = "arn:aws:s3:::b/" + "a" * 1024
    assert effect_of(policy, ANONYMOUS, "s3:GetObject", key, Context({})) is None
    begin = time.process_time()
    for _ in range(10):
        effect_of(policy, ANONYMOUS, "s3:GetObject", key, Context({}))
    assert time.process_time() - begin < 0.5


def test_a_hostile_pattern_costs_little() -> None:
    begin = time.process_time()
    assert not matches(pattern_of("*a" * 5000 + "b"), "a" * 1024)
    assert not may_continue(pattern_of("a*" * 500), "b" * 1024)
    assert time.process_time() - begin < 1
