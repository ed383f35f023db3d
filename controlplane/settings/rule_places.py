"""What must hold between the places of mirror.rules' copies. Pure: values in, contradictions out, like rules.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_BUCKET: Final = "{bucket}"


@dataclass(frozen=True)
class _Rule:
    path: str
    buckets: str
    prefix: str
    place: str
    """The target's bucket, and below it the beginning of every key; both name BUCKET, or one of them."""
    beneath: str

    @property
    def copies(self) -> tuple[str, str]:
        """Patterns of the buckets and keys of its copies."""
        keys = self.beneath.replace(_BUCKET, self.buckets) + self.prefix
        return self.place.replace(_BUCKET, self.buckets), f"{keys}*"

    def may_cover(self, bucket: str, key: str) -> bool:
        return may_both_match(self.buckets, bucket) and may_both_match(f"{self.prefix}*", key)


def shared_places(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Every dotted path to blame, and the message."""
    rules = [rule for rule in (_rule(values, number) for number in range(_count(values))) if rule is not None]
    for rule in rules:
        if (
            _BUCKET not in rule.place
            and "/" not in rule.beneath.partition(_BUCKET)[2]
            and set("*?") & set(rule.buckets)
        ):
            yield (
                f"{rule.path}.target.prefix",
                (
                    f"needs a slash behind {_BUCKET}: the copies of a bucket whose name begins with another's would be "
                    "taken for that one's, and deleted"
                ),
            )
    front = {url.lower() for url in values.get("s3.endpoints") or ()}
    within = [
        rule for rule in rules if front & {url.lower() for url in values.get(f"{rule.path}.target.endpoints", ())}
    ]
    for number, rule in enumerate(within):
        others = _reached_from(rule, within)
        for other in within[:number]:
            if other in others and rule in _reached_from(other, within):
                yield (
                    f"{rule.path}.target.bucket",
                    (
                        f"is in Riak CS itself (s3.endpoints), and so are the copies of {other.path}: each of the two "
                        "would copy the other's copies, for ever; narrow the buckets or the prefix of one"
                    ),
                )


def _reached_from(rule: _Rule, rules: list[_Rule]) -> list[_Rule]:
    """The rules that copy its copies, and those that copy these."""
    reached: list[_Rule] = []
    coming = [rule]
    while coming:
        copies = coming.pop().copies
        new = [other for other in rules if other not in reached and other.may_cover(*copies)]
        reached += new
        coming += new
    return reached


def _count(values: Mapping[str, Any]) -> int:
    numbers = [int(path.split(".")[2]) for path in values if path.startswith("mirror.rules.")]
    return max(numbers, default=-1) + 1


def _rule(values: Mapping[str, Any], number: int) -> _Rule | None:
    """None: it is not sound by itself, or its target has no buckets."""
    path = f"mirror.rules.{number}"
    said = [values.get(f"{path}.{name}") for name in ("buckets", "prefix", "target.bucket", "target.prefix")]
    if not all(isinstance(value, str) for value in said):
        return None
    buckets, prefix, place, beneath = map(str, said)
    if _BUCKET not in place + beneath:
        beneath += f"{_BUCKET}/"
    return _Rule(path, buckets, prefix, place, beneath)


def may_both_match(one: str, other: str) -> bool:
    """Whether there is a text that both patterns match; `*` stands for any characters, `?` for one."""
    # Of what was read of `one`, and each beginning of `other`: whether there is a text for both.
    reach = [True]
    for sign in other:
        reach.append(reach[-1] and sign == "*")
    for character in one:
        before, reach = reach, [reach[0] and character == "*"]
        for at, sign in enumerate(other):
            if "*" in (character, sign):
                reach.append(reach[at] or before[at + 1])
            else:
                reach.append(before[at] and (character == sign or "?" in (character, sign)))
    return reach[-1]
