"""What a policy says about one request."""

from __future__ import annotations

from controlplane.s3.access.conditions import Context
from controlplane.s3.access.patterns import Pattern, UnknownVariable, matches, pattern_of, substituted
from controlplane.s3.access.policy import Effect, Policy, Principals, Statement
from controlplane.s3.access.principals import Caller


def _names(principals: Principals, caller: Caller) -> bool:
    if principals.everyone:
        return True
    if caller.id is None:
        return False
    return (
        caller.id in principals.canonical_ids
        or (caller.arn != "" and caller.arn in principals.user_arns)
        or (caller.account != "" and caller.account in principals.accounts)
    )


def _resource(text: str, version: str, context: Context) -> Pattern:
    # An account of `*` in the pattern is the empty one of the request's ARN.
    text = text.replace("arn:aws:s3::*:", "arn:aws:s3:::", 1) if text.startswith("arn:aws:s3::*:") else text
    return pattern_of(text) if version == "2008-10-17" else substituted(text, context.single)


def _about(statement: Statement, version: str, arn: str, context: Context) -> bool:
    for text in statement.resources:
        try:
            if matches(_resource(text, version, context), arn):
                return not statement.not_resource
        except UnknownVariable:
            continue
    return statement.not_resource


def _applies(statement: Statement, version: str, caller: Caller, action: str, arn: str, context: Context) -> bool:
    return (
        _names(statement.principals, caller) != statement.not_principal
        and any(matches(pattern_of(text), action) for text in statement.actions) != statement.not_action
        and _about(statement, version, arn, context)
        and all(condition.holds(context) for condition in statement.conditions)
    )


def effect_of(policy: Policy, caller: Caller, action: str, arn: str, context: Context) -> Effect | None:
    """DENY if any statement that applies denies, else ALLOW if one allows, else None: the policy does not say.

    `action` as in `actions.NEEDS`, `arn` of the bucket or of the object.
    """
    found: Effect | None = None
    for statement in policy.statements:
        if found is statement.effect:
            continue
        if _applies(statement, policy.version, caller, action.lower(), arn, context):
            if statement.effect is Effect.DENY:
                return Effect.DENY
            found = statement.effect
    return found


def asks_for_existing_tags(policy: Policy) -> bool:
    """Whether a condition looks at the tags of the object, which have to be looked up then."""
    return any(
        condition.key.startswith("s3:existingobjecttag/")
        for statement in policy.statements
        for condition in statement.conditions
    )


def is_public(policy: Policy) -> bool:
    """Whether an Allow names everybody without a condition that narrows it down to some: what GetBucketPolicyStatus
    reports. As AWS does it: conditions on fixed values of these keys make a statement non-public."""
    return any(
        statement.effect is Effect.ALLOW
        and (statement.principals.everyone or statement.not_principal)
        and not any(
            condition.key in _NARROWING
            and condition.operator in ("stringequals", "ipaddress", "arnequals", "stringequalsignorecase")
            and not condition.if_exists
            and not any("*" in value or "${" in value or value.endswith("/0") for value in condition.values)
            for condition in statement.conditions
        )
        for statement in policy.statements
    )


_NARROWING = frozenset(
    {
        "aws:sourceip", "aws:sourcearn", "aws:sourcevpc", "aws:sourcevpce", "aws:sourceaccount", "aws:principalaccount",
        "aws:principalarn", "aws:userid", "aws:principalorgid",
    }
)  # fmt: skip
