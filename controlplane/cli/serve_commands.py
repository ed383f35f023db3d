"""`millrace dev`, `gateway` and `agent`: the settings, then the process until it is told to stop."""

from __future__ import annotations

import gc
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from controlplane.cli import output, settings_source
from controlplane.cli.exit_codes import UsageError

_DEV_DIR = "millrace-data"


def dev(arguments: Namespace) -> int:
    """Only a --config that is named counts: the machine's own settings are not there to be tried out."""
    if arguments.config is not None and (arguments.data_dir is not None or arguments.port is not None):
        raise UsageError("dev: --config says where and on which port: give it without --data-dir and --port")
    settings = settings_source.load(arguments.config) if arguments.config is not None else None
    from controlplane.wiring.processes import run_dev

    data_dir = Path(arguments.data_dir or _DEV_DIR).absolute()
    if settings is None:
        url = "<the URL in the log>" if arguments.port == 0 else f"http://127.0.0.1:{arguments.port or 8470}"
        output.complain(f"millrace dev: everything is kept in {data_dir}; in another terminal:")
        output.complain(f"  export MILLRACE_URL={url} MILLRACE_TOKEN_FILE={data_dir}/dev.token")
        output.complain("  millrace blob put FILE")
    return run_dev(data_dir, arguments.port, settings)


def gateway(arguments: Namespace) -> int:
    with _nothing_to_collect():
        settings = settings_source.load(arguments.config, workers=arguments.workers)
        from controlplane.wiring.processes import run_gateway

    return run_gateway(settings)


def agent(arguments: Namespace) -> int:
    with _nothing_to_collect():
        settings = settings_source.load(arguments.config)
        from controlplane.wiring.processes import run_agent

    return run_agent(settings)


@contextmanager
def _nothing_to_collect() -> Iterator[None]:
    """Around imports: what they load stays, and the collector would take a tenth of their time to find that out.

    Nor does it look at that afterwards: enabled again, its first round would walk through all of it.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
