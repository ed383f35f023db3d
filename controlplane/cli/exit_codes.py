"""What the shell is told. docs/commands.md and `millrace --help` list these; scripts rely on them."""

from __future__ import annotations

from enum import IntEnum

from controlplane.ports.errors import Conflict, Corrupt, MillraceError, NotFound, Rejected, Unavailable


class ExitCode(IntEnum):
    OK = 0
    FAILED = 1
    """A check failed, or something that has no code of its own."""
    USAGE = 2
    """The command line or the settings are wrong."""
    NOT_FOUND = 3
    UNAVAILABLE = 4
    """Something is away or full: try again later."""
    REFUSED = 5
    """Credentials, a conflict, too large: trying again cannot help."""
    CORRUPT = 6
    """Bytes do not have the digests that they should have."""
    INTERRUPTED = 130
    """SIGINT."""
    BROKEN_PIPE = 141
    """Whoever read standard output went away."""
    TERMINATED = 143
    """SIGTERM."""


MEANINGS = {
    ExitCode.OK: "done",
    ExitCode.FAILED: "a check failed, or another failure",
    ExitCode.USAGE: "the command line or the settings are wrong",
    ExitCode.NOT_FOUND: "not found",
    ExitCode.UNAVAILABLE: "unavailable or full: try again later",
    ExitCode.REFUSED: "refused: credentials, conflict, too large",
    ExitCode.CORRUPT: "corrupt: a digest does not match",
    ExitCode.INTERRUPTED: "interrupted",
    ExitCode.BROKEN_PIPE: "the reader of standard output went away",
    ExitCode.TERMINATED: "terminated",
}


class CommandFailed(Exception):
    """A command cannot go on; the message says what happened, where, and what to do."""

    def __init__(self, message: str, code: ExitCode = ExitCode.FAILED) -> None:
        super().__init__(message)
        self.code = code


class UsageError(CommandFailed):
    """The command line is wrong in a way that the parser does not see, or the settings are."""

    def __init__(self, message: str) -> None:
        super().__init__(message, ExitCode.USAGE)


class Terminated(SystemExit):
    """SIGTERM arrived: unwind, so that nothing is left half done. A SystemExit, which event loops let through."""


_OF_ERRORS: tuple[tuple[type[MillraceError], ExitCode], ...] = (
    (NotFound, ExitCode.NOT_FOUND),
    (Unavailable, ExitCode.UNAVAILABLE),
    (Conflict, ExitCode.REFUSED),
    (Rejected, ExitCode.REFUSED),
    (Corrupt, ExitCode.CORRUPT),
)


def exit_code_of(error: BaseException) -> ExitCode:
    """The code that stands for `error`."""
    match error:
        case CommandFailed():
            return error.code
        case KeyboardInterrupt():
            return ExitCode.INTERRUPTED
        case Terminated():
            return ExitCode.TERMINATED
    return next((code for kind, code in _OF_ERRORS if isinstance(error, kind)), ExitCode.FAILED)
