"""What is wrong with the settings: all of it at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong, and where."""

    path: str
    """Dotted, as in TOML: `gateway.port`, `tokens.0.secret`; empty when the file as a whole is meant."""
    message: str
    line: int | None = None
    """1-based line of the settings file, when the value stands there and could be found."""
    variable: str | None = None
    """The environment variable that gave the value."""

    def __str__(self) -> str:
        origin = self.variable or (f"line {self.line}" if self.line else "")
        where = f"{self.path} ({origin})" if self.path and origin else self.path or origin
        return f"{where}: {self.message}" if where else self.message


class InvalidSettings(Exception):
    """The settings cannot be used. `faults` is never empty, and holds everything that could be found at once."""

    def __init__(self, faults: tuple[Fault, ...], file: Path | None = None) -> None:
        self.faults = faults
        self.file = file
        head = f"the settings{f' in {file}' if file else ''} have {len(faults)} fault{'s' if len(faults) > 1 else ''}"
        super().__init__("\n  ".join([f"{head}:", *map(str, faults)]))
