"""Bucket policies: the document, read strictly. What has no meaning here is MalformedPolicy, never ignored.

Source: IAM User Guide, "IAM JSON policy elements reference"; Amazon S3 User Guide, "Policies and permissions in Amazon
S3". Limit: 20 KB.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from controlplane.s3.access.actions import ACTIONS, OBJECT_ACTIONS
from controlplane.s3.access.condition_keys import is_condition_key
from controlplane.s3.access.conditions import BadCondition, Condition, condition_of
from controlplane.s3.access.patterns import matches, may_continue, pattern_of
from controlplane.s3.fault import Code, S3Fault

MAX_BYTES: Final = 20 * 1024
VERSIONS: Final = ("2008-10-17", "2012-10-17")


class Effect(StrEnum):
    ALLOW = "Allow"
    DENY = "Deny"


@dataclass(frozen=True, slots=True)
class Principals:
    """Whom a statement names. `everyone` is "*": anonymous callers too."""

    everyone: bool = False
    canonical_ids: frozenset[str] = frozenset()
    user_arns: frozenset[str] = frozenset()
    accounts: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Statement:
    """`not_...` turns what it is named after into its complement."""

    effect: Effect
    principals: Principals
    actions: tuple[str, ...]
    """Patterns, lower-case."""
    resources: tuple[str, ...]
    """Patterns, with variables."""
    conditions: tuple[Condition, ...] = ()
    sid: str = ""
    not_principal: bool = False
    not_action: bool = False
    not_resource: bool = False


@dataclass(frozen=True, slots=True)
class Policy:
    version: str
    statements: tuple[Statement, ...]


def malformed(message: str) -> S3Fault:
    return S3Fault(Code.MALFORMED_POLICY, message)


_ROOT = re.compile(r"arn:aws:iam::(\d{12}):root\Z")
_USER = re.compile(r"arn:aws:iam::\d{12}:user/[\w+=,.@/-]{1,576}\Z", re.ASCII)
_ACCOUNT = re.compile(r"\d{12}\Z")
_CANONICAL = re.compile(r"[0-9a-f]{64}\Z")
_ELEMENTS: Final = {
    "Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Resource", "NotResource", "Condition",
}  # fmt: skip


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise malformed("A key stands twice in one JSON object.")
    return found


def _number(text: str) -> float:
    raise malformed(f"{text} is no JSON number.")


def _strings(value: Any, where: str) -> tuple[str, ...]:
    found = value if isinstance(value, list) else [value]
    if not found or not all(isinstance(text, str) and text for text in found):
        raise malformed(f"{where} must be a string or a list of strings, and not empty.")
    return tuple(found)


def _aws_principal(text: str, found: dict[str, set[str]]) -> None:
    root = _ROOT.match(text)
    if root:
        found["accounts"].add(root[1])
    elif _ACCOUNT.match(text):
        found["accounts"].add(text)
    elif _USER.match(text):
        found["user_arns"].add(text)
    else:
        raise malformed(f"Invalid principal in policy: {text[:120]!r} is neither a user, nor an account, nor *.")


def _principals(value: Any) -> Principals:
    if value == "*":
        return Principals(everyone=True)
    if not isinstance(value, dict) or not value:
        raise malformed('Invalid principal in policy: it must be "*" or an object.')
    found: dict[str, set[str]] = {"canonical_ids": set(), "user_arns": set(), "accounts": set()}
    everyone = False
    for kind, named in value.items():
        for text in _strings(named, f"Principal {kind}"):
            if kind == "AWS" and text == "*":
                everyone = True
            elif kind == "AWS":
                _aws_principal(text, found)
            elif kind == "CanonicalUser" and _CANONICAL.match(text):
                found["canonical_ids"].add(text)
            else:
                # Services and federations do not exist here: a grant to them would promise what cannot be.
                raise malformed(f"Invalid principal in policy: {kind[:40]} {text[:120]!r}")
    return Principals(everyone, **{name: frozenset(values) for name, values in found.items()})


def _actions(value: Any) -> tuple[str, ...]:
    found = tuple(text.lower() for text in _strings(value, "Action"))
    for text in found:
        pattern = pattern_of(text)
        if not any(matches(pattern, action.lower()) for action in ACTIONS):
            raise malformed(f"Policy has invalid action: {text[:120]!r}")
    return found


def _resources(value: Any, bucket: str) -> tuple[str, ...]:
    found = _strings(value, "Resource")
    for text in found:
        if text == "*":
            continue
        parts = text.split(":", 5)
        # Region and account of an S3 bucket's ARN are empty; the bucket's name is not made of a variable.
        if len(parts) != 6 or parts[:3] != ["arn", "aws", "s3"] or parts[3] or parts[4] not in ("", "*"):
            raise malformed(f"Policy has invalid resource: {text[:120]!r}")
        name = parts[5].split("/", 1)[0]
        pattern = pattern_of(name)
        if "${" in name or not (matches(pattern, bucket) or (name.endswith("*") and may_continue(pattern, bucket))):
            raise malformed(f"Policy has invalid resource: {text[:120]!r} is not of the bucket {bucket!r}")
    return found


def _conditions(value: Any) -> tuple[Condition, ...]:
    if not isinstance(value, dict):
        raise malformed("Condition must be an object.")
    found: list[Condition] = []
    for operator, block in value.items():
        if not isinstance(block, dict) or not block:
            raise malformed(f"The condition {operator[:80]!r} must be an object of keys.")
        for key, values in block.items():
            if not is_condition_key(key):
                raise malformed(f"Policy has an invalid condition key: {key[:120]!r}")
            listed = values if isinstance(values, list) else [values]
            texts = [str(text).lower() if isinstance(text, bool) else str(text) for text in listed]
            if not listed or not all(isinstance(text, (str, bool, int, float)) for text in listed):
                raise malformed(f"The condition on {key[:120]!r} has no values that can be read.")
            try:
                found.append(condition_of(operator, key, texts))
            except BadCondition as error:
                raise malformed(f"Invalid condition: {error}") from error
    return tuple(found)


def _applies(action: str, resources: tuple[str, ...], bucket: str) -> bool:
    """Whether an action without wildcards has a resource among these."""
    arn = f"arn:aws:s3:::{bucket}"
    known = next(name for name in ACTIONS if name.lower() == action)
    for text in resources:
        pattern = pattern_of(text.replace("arn:aws:s3::*:", "arn:aws:s3:::"))
        if may_continue(pattern, f"{arn}/") if known in OBJECT_ACTIONS else matches(pattern, arn):
            return True
    return False


def _one_of(statement: dict[str, Any], name: str) -> tuple[Any, bool]:
    """The element or its Not form: the value, and whether it is negated."""
    given = [at for at in (name, f"Not{name}") if at in statement]
    if len(given) != 1:
        raise malformed(f"A statement needs either {name} or Not{name}.")
    return statement[given[0]], given[0] != name


def _statement(value: Any, bucket: str) -> Statement:
    if not isinstance(value, dict):
        raise malformed("A statement must be an object.")
    unknown = set(value) - _ELEMENTS
    if unknown:
        raise malformed(f"Unknown element of a statement: {min(unknown)[:80]!r}")
    sid = value.get("Sid", "")
    if not isinstance(sid, str):
        raise malformed("Sid must be a string.")
    if value.get("Effect") not in ("Allow", "Deny"):
        raise malformed("Effect must be Allow or Deny.")
    principal, not_principal = _one_of(value, "Principal")
    action, not_action = _one_of(value, "Action")
    resource, not_resource = _one_of(value, "Resource")
    actions, resources = _actions(action), _resources(resource, bucket)
    if not (not_action or not_resource):
        for text in actions:
            if "*" not in text and "?" not in text and not _applies(text, resources, bucket):
                raise malformed(f"Action does not apply to any resource(s) in statement: {text}")
    return Statement(
        Effect(value["Effect"]), _principals(principal), actions, resources,
        _conditions(value["Condition"]) if "Condition" in value else (), sid, not_principal, not_action, not_resource,
    )  # fmt: skip


def parse_policy(document: bytes, bucket: str) -> Policy:
    """The policy of this bucket. Raises MalformedPolicy."""
    if len(document) > MAX_BYTES:
        raise malformed(f"The policy exceeds the maximum allowed size of {MAX_BYTES} bytes.")
    try:
        root = json.loads(document.decode(), object_pairs_hook=_object, parse_constant=_number)
    except (ValueError, RecursionError) as error:
        raise malformed("Policies must be valid JSON and the first byte must be '{'") from error
    if not isinstance(root, dict):
        raise malformed("Policies must be valid JSON and the first byte must be '{'")
    unknown = set(root) - {"Version", "Id", "Statement"}
    if unknown:
        raise malformed(f"Unknown element of a policy: {min(unknown)[:80]!r}")
    version = root.get("Version", VERSIONS[0])
    if version not in VERSIONS:
        raise malformed(f"The policy must contain a valid version string: one of {', '.join(VERSIONS)}")
    if not isinstance(root.get("Id", ""), str):
        raise malformed("Id must be a string.")
    statements = root.get("Statement")
    listed = statements if isinstance(statements, list) else [statements]
    if not listed or listed == [None]:
        raise malformed("Missing required field Statement")
    return Policy(version, tuple(_statement(value, bucket) for value in listed))
