"""Conditions of bucket policies: parsed strictly, evaluated by AWS's rules.

Source: IAM User Guide, "IAM JSON policy elements: Condition operators" and "Creating a condition with multiple keys or
values". All blocks and all keys of a block must hold; of a key's values one has to match (of a negated operator: none).
A key that the request does not have makes a positive operator false and a negated one true; IfExists makes it true.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from functools import lru_cache, partial
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final

from controlplane.s3.access.patterns import UnknownVariable, matches, substituted


class BadCondition(ValueError):
    """A condition that has no meaning; the message says why."""


@dataclass(frozen=True, slots=True)
class Context:
    """What conditions ask of a request: lower-case keys to their values (`context_of` makes it)."""

    values: Mapping[str, tuple[str, ...]]

    def single(self, key: str) -> str | None:
        """The value of a key that has exactly one."""
        found = self.values.get(key, ())
        return found[0] if len(found) == 1 else None


class Quantifier(StrEnum):
    ANY = "ForAnyValue"
    ALL = "ForAllValues"


_Test = Callable[[str, str, Context], bool]
"""Of a value in the policy and one in the request."""


def _string(wanted: str, value: str, context: Context, *, like: bool, fold: bool) -> bool:
    if fold:
        wanted, value = wanted.lower(), value.lower()
    try:
        pattern = substituted(wanted, context.single)
    except UnknownVariable:
        return False
    if like:
        return matches(pattern, value)
    return pattern.text == value


def _number(text: str) -> Decimal:
    number = Decimal(text)
    if not number.is_finite():
        raise InvalidOperation
    return number


def _date(text: str) -> float:
    """Unix seconds of an ISO 8601 date, or of a number of seconds."""
    try:
        return float(_number(text))
    except InvalidOperation:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


_COMPARISONS: Final[dict[str, Callable[[Decimal | float, Decimal | float], bool]]] = {
    "Equals": lambda value, wanted: value == wanted,
    "LessThan": lambda value, wanted: value < wanted,
    "LessThanEquals": lambda value, wanted: value <= wanted,
    "GreaterThan": lambda value, wanted: value > wanted,
    "GreaterThanEquals": lambda value, wanted: value >= wanted,
}


def _compare(
    wanted: str,
    value: str,
    _context: Context,
    *,
    read: Callable[[str], Decimal | float],
    by: Callable[[Decimal | float, Decimal | float], bool],
) -> bool:
    try:
        return by(read(value), read(wanted))
    except (ValueError, ArithmeticError):
        return False  # what the request has is no number or date


def _bool(wanted: str, value: str, _context: Context) -> bool:
    return wanted.lower() == value.lower()


def _exact(wanted: str, value: str, _context: Context) -> bool:
    return wanted == value


@lru_cache(maxsize=4096)
def _network(text: str) -> IPv4Network | IPv6Network:
    return ip_network(text, strict=False)


def _ip(wanted: str, value: str, _context: Context) -> bool:
    try:
        address = ip_address(value)
    except ValueError:
        return False
    if address.version == 6 and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    network = _network(wanted)
    return address.version == network.version and address in network


def _arn(wanted: str, value: str, context: Context) -> bool:
    """Part by part: a wildcard does not cross a colon, but in the last part."""
    ours, theirs = wanted.split(":", 5), value.split(":", 5)
    return len(ours) == len(theirs) == 6 and all(
        _string(part, other, context, like=True, fold=False) for part, other in zip(ours, theirs, strict=True)
    )


def _check_ip(text: str) -> None:
    ip_network(text, strict=False)


def _check_bool(text: str) -> None:
    if text.lower() not in ("true", "false"):
        raise ValueError(text)


def _check_arn(text: str) -> None:
    if len(text.split(":", 5)) != 6 or not text.startswith("arn:"):
        raise ValueError(text)


def _check_nothing(_text: str) -> None:
    """Every string is a string."""


@dataclass(frozen=True, slots=True)
class Operator:
    test: _Test
    negated: bool = False
    check: Callable[[str], object] = _check_nothing
    """Raises ValueError or ArithmeticError for a value of a policy that has no meaning."""


def _operators() -> dict[str, Operator]:
    found: dict[str, Operator] = {}

    def add(positive: str, negative: str, test: _Test, check: Callable[[str], object] = _check_nothing) -> None:
        found[positive.lower()] = Operator(test, check=check)
        found[negative.lower()] = Operator(test, negated=True, check=check)

    add("StringEquals", "StringNotEquals", partial(_string, like=False, fold=False))
    add("StringEqualsIgnoreCase", "StringNotEqualsIgnoreCase", partial(_string, like=False, fold=True))
    add("StringLike", "StringNotLike", partial(_string, like=True, fold=False))
    add("IpAddress", "NotIpAddress", _ip, _check_ip)
    add("ArnEquals", "ArnNotEquals", _arn, _check_arn)
    add("ArnLike", "ArnNotLike", _arn, _check_arn)
    for kind, read in (("numeric", _number), ("date", _date)):
        for name, by in _COMPARISONS.items():
            found[kind + name.lower()] = Operator(partial(_compare, read=read, by=by), check=read)
        equal = partial(_compare, read=read, by=_COMPARISONS["Equals"])
        found[f"{kind}notequals"] = Operator(equal, negated=True, check=read)
    found["bool"] = Operator(_bool, check=_check_bool)
    found["binaryequals"] = Operator(_exact)
    return found


OPERATORS: Final = _operators()
"""By lower-case name; operators' names are not case-sensitive. Null is apart: it asks for the key, not for a value."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One key of one block."""

    operator: str
    """Lower-case, without quantifier and IfExists; or "null"."""
    key: str
    """Lower-case."""
    values: tuple[str, ...]
    if_exists: bool = False
    quantifier: Quantifier | None = None

    def holds(self, context: Context) -> bool:
        present = context.values.get(self.key, ())
        if self.operator == "null":
            return any((value.lower() == "true") == (not present) for value in self.values)
        operator = OPERATORS[self.operator]
        if not present:
            if self.quantifier is Quantifier.ANY:
                return self.if_exists
            return self.if_exists or operator.negated or self.quantifier is Quantifier.ALL
        met = [any(operator.test(wanted, value, context) for wanted in self.values) for value in present]
        if operator.negated:
            # Without a quantifier no value may match; ForAnyValue asks that some value does not.
            return not all(met) if self.quantifier is Quantifier.ANY else not any(met)
        return all(met) if self.quantifier is Quantifier.ALL else any(met)


def condition_of(operator: str, key: str, values: Iterable[str]) -> Condition:
    """Raises BadCondition: unknown operators and keys, values that the operator cannot read."""
    name, quantifier = operator, None
    for candidate in Quantifier:
        if name.lower().startswith(f"{candidate.value.lower()}:"):
            name, quantifier = name[len(candidate.value) + 1 :], candidate
    if_exists = name.lower().endswith("ifexists")
    name = (name[: -len("IfExists")] if if_exists else name).lower()
    found = tuple(values)
    if name == "null":
        if if_exists or quantifier:
            raise BadCondition(f"Null takes neither IfExists nor a quantifier: {operator[:80]}")
        known = Operator(_bool, check=_check_bool)
    elif name in OPERATORS:
        known = OPERATORS[name]
    else:
        raise BadCondition(f"unknown condition operator {operator[:80]!r}")
    for value in found:
        try:
            if "${" not in value:
                known.check(value)
        except (ValueError, ArithmeticError) as error:
            raise BadCondition(f"{operator[:80]} cannot read {value[:80]!r}") from error
    return Condition(name, key.lower(), found, if_exists, quantifier)
