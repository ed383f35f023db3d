"""`millrace check-config`, `example-config` and `version`."""

from __future__ import annotations

import os
from argparse import Namespace
from pathlib import Path

from controlplane.cli import output
from controlplane.cli.exit_codes import ExitCode


def check_config(arguments: Namespace) -> int:
    """0, or 2 with one line for every fault: `file:line: path: message`."""
    from controlplane.settings.describe import describe
    from controlplane.settings.faults import InvalidSettings
    from controlplane.settings.load import load_settings

    try:
        settings = load_settings(Path(arguments.file), os.environ)
    except InvalidSettings as error:
        for fault in error.faults:
            where = fault.variable or (f"{arguments.file}:{fault.line}" if fault.line else arguments.file)
            output.complain(": ".join(part for part in (where, fault.path, fault.message) if part))
        return ExitCode.USAGE
    if arguments.show:
        output.document(describe(settings))
    else:
        output.line(f"{arguments.file}: good")
    return ExitCode.OK


def example(_arguments: Namespace) -> int:
    from controlplane.settings.example import example_toml

    print(example_toml(), end="")
    return ExitCode.OK


def version(_arguments: Namespace) -> int:
    from controlplane.version import VERSION

    output.line(f"millrace {VERSION}")
    return ExitCode.OK
