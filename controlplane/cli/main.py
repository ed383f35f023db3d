"""Entry point: parse, dispatch, and turn every error into one line and an exit code."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

from controlplane.cli import output
from controlplane.cli.exit_codes import CommandFailed, ExitCode, Terminated, exit_code_of
from controlplane.cli.parser import build_parser
from controlplane.ports.errors import MillraceError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; raises SystemExit only for --help and a wrong command line."""
    given = sys.argv[1:] if argv is None else argv
    arguments = build_parser(given[0] if given else "").parse_args(given)
    previous = signal.signal(signal.SIGTERM, _terminate)
    try:
        module, _, function = arguments.run.partition(":")
        code = int(getattr(import_module(module), function)(arguments))
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # Only standard output gets here: the client maps what its sockets raise.
        _abandon_stdout()
        return ExitCode.BROKEN_PIPE
    except (KeyboardInterrupt, Terminated) as error:
        return exit_code_of(error)
    except Exception as error:
        if os.environ.get("MILLRACE_DEBUG") == "1":
            raise
        _explain(error)
        return exit_code_of(error)
    finally:
        signal.signal(signal.SIGTERM, previous)


def _explain(error: Exception) -> None:
    match error:
        case CommandFailed() | MillraceError():
            output.error(str(error))
        case OSError():
            what = f"{error.filename}: {error.strerror}" if error.filename is not None else str(error)
            output.error(what)
        case _:
            output.error(
                f"internal error: {type(error).__name__}: {error}; set MILLRACE_DEBUG=1 for the traceback and report it"
            )


def _terminate(_number: int, _frame: object) -> NoReturn:
    raise Terminated


def _abandon_stdout() -> None:
    """Let the interpreter's last flush go nowhere instead of failing again."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


if __name__ == "__main__":
    sys.exit(main())
