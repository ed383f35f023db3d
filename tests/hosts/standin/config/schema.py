"""Schemas: which keys exist, of which type, with which default. `$name` in a key stands for one word."""

import re
from dataclasses import dataclass

_SIZE = re.compile(r"^\d+(KB|MB|GB|kb|mb|gb)?$")
_DURATION = re.compile(r"^(\d+(\.\d+)?(f|w|d|h|ms|m|s))+$")
_ADDRESS = re.compile(r"^(\d{1,3}(\.\d{1,3}){3}|\[?[0-9a-fA-F:]+\]?):(\d{1,5})$")
_FQDN = re.compile(r"^[A-Za-z0-9.-]+:\d{1,5}$")


@dataclass(frozen=True)
class Setting:
    """One key; `stock` says whether the shipped file has it set (else it is there as a comment)."""

    key: str
    datatype: str
    default: str | None
    stock: bool = False

    def matches(self, key: str) -> bool:
        mine, theirs = self.key.split("."), key.split(".")
        return len(mine) == len(theirs) and all(a == b or a.startswith("$") for a, b in zip(mine, theirs, strict=True))


def table(text: str) -> tuple[Setting, ...]:
    """Rows of `key | type | default`; a leading `*` marks what the shipped file sets."""
    rows = []
    for line in text.strip().splitlines():
        key, datatype, default = (part.strip() for part in line.split("|"))
        rows.append(Setting(key.lstrip("*"), datatype, default or None, key.startswith("*")))
    return tuple(rows)


def _integer(value: str) -> str | None:
    return None if re.fullmatch(r"-?\d+", value) else f'"{value}" cannot be converted to a(n) integer'


def _one_of(value: str, words: list[str]) -> str | None:
    if value in words:
        return None
    return f'"{value}" is not a valid enum value, acceptable values are: {", ".join(words)}'


def problem(datatype: str, value: str) -> str | None:
    """What cuttlefish says against a value of this type, or None. `a|b` are alternatives."""
    complaints = []
    for alternative in datatype.split("/"):
        complaint = _problem(alternative, value)
        if complaint is None:
            return None
        complaints.append(complaint)
    return complaints[0]


def _problem(datatype: str, value: str) -> str | None:
    kind, _, words = datatype.partition(" ")
    checks = {
        "ip": (_ADDRESS, "IP"),
        "fqdn": (_FQDN, "fqdn"),
        "bytesize": (_SIZE, "bytesize"),
        "duration": (_DURATION, "duration"),
    }
    if kind in checks:
        pattern, name = checks[kind]
        return None if pattern.match(value) else f'"{value}" cannot be converted to a(n) {name}'
    match kind:
        case "integer":
            return _integer(value)
        case "percent":
            return None if re.fullmatch(r"\d+(\.\d+)?%?", value) else f'"{value}" cannot be converted to a(n) percent'
        case "flag":
            return _one_of(value, words.split() or ["on", "off"])
        case "enum":
            return _one_of(value, words.split())
        case "atom":
            return None if value == words else f'"{value}" cannot be converted to a(n) {words}'
        case _:
            return None
