"""A progress bar on standard error: only for a person who watches, and only when there is something to wait for."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Protocol, Self

from controlplane.cli.output import plain

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Meter(Protocol):
    """Told of the bytes that pass; a context."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def moved(self, count: int) -> None: ...

    def expect(self, total: int) -> None:
        """How many bytes there will be, where that is learnt late."""
        ...


class Silent:
    """Implements Meter without a word."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def moved(self, count: int) -> None:
        pass

    def expect(self, total: int) -> None:
        pass


class Bar:
    """Implements Meter with rich. What fits into one block shows nothing; the bar vanishes when all is done."""

    def __init__(self, name: str, total: int | None) -> None:
        self._name = name
        self._total = total
        self._done = 0
        self._shown: tuple[Progress, TaskID] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown is not None:
            self._shown[0].stop()

    def moved(self, count: int) -> None:
        self._done += count
        if self._shown is None and self._done != self._total:
            self._shown = self._show()
        if self._shown is not None:
            progress, task = self._shown
            progress.update(task, completed=self._done, total=self._total)

    def expect(self, total: int) -> None:
        self._total = total

    def _show(self) -> tuple[Progress, TaskID]:
        from rich.console import Console
        from rich.markup import escape
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        task = progress.add_task(escape(plain(os.path.basename(self._name) or self._name)), total=self._total)
        progress.start()
        return progress, task


def meter(name: str, total: int | None, *, quiet: bool) -> Meter:
    """A bar when standard error is a terminal and `quiet` is not asked for."""
    return Bar(name, total) if not quiet and sys.stderr.isatty() else Silent()


class Counter:
    """Implements Meter for things instead of bytes; nobody knows how many there will be."""

    def __init__(self, name: str, unit: str) -> None:
        self._name = name
        self._unit = unit
        self._done = 0
        self._shown: tuple[Progress, TaskID] | None = None

    def __enter__(self) -> Self:
        from rich.console import Console
        from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            TextColumn("{task.completed:,.0f} {task.fields[unit]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[rate]}"),
            console=Console(stderr=True),
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        task = progress.add_task(self._name, total=None, unit=self._unit, rate="")
        progress.start()
        self._shown = progress, task
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown is not None:
            self._shown[0].stop()

    def moved(self, count: int) -> None:
        self._done += count
        if self._shown is not None:
            progress, task = self._shown
            seconds = progress.tasks[0].elapsed or 0.0
            rate = f"{self._done / seconds:,.0f}/s" if seconds else ""
            progress.update(task, completed=self._done, rate=rate)

    def expect(self, total: int) -> None:
        pass


def counter(name: str, unit: str, *, quiet: bool) -> Meter:
    """The same as meter(), for things that are counted."""
    return Counter(name, unit) if not quiet and sys.stderr.isatty() else Silent()
