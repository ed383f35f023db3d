"""One client through the scenario, in this process: python -m tests.clients.run CLIENT, with the rest as JSON on stdin.

Prints a line of JSON for each operation as it ends: {"operation", "outcome": "yes" | "no" | "-", "why", "seconds"}.
Runs in the environment of the clients.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
import traceback
import warnings
from dataclasses import dataclass

from tests.clients.scenario import OPERATIONS, Run, Sizes
from tests.clients.verbs import Client, NotOffered, Target

CLIENTS = ("boto3", "aiobotocore", "s3fs", "obstore", "minio", "awscli", "s3cmd", "rclone", "s5cmd")
"""Each has a module <name>_client here, with one class that is its adapter."""


@dataclass(frozen=True)
class Outcome:
    operation: str
    outcome: str
    why: str
    seconds: float


def adapter(name: str) -> type[Client]:
    module = importlib.import_module(f"tests.clients.{name}_client")
    found: type[Client] = module.ADAPTER
    return found


def perform(run: Run, name: str) -> Outcome:
    began, why = time.monotonic(), ""
    try:
        OPERATIONS[name](run)
        outcome = "yes"
    except NotOffered:
        outcome = "-"
    except Exception as error:
        outcome = "no"
        where = traceback.extract_tb(error.__traceback__)
        ours = [frame for frame in where if frame.filename.endswith("scenario.py")]
        why = f"line {ours[-1].lineno if ours else '?'}: {type(error).__name__}: {str(error)[:1500]}"
    return Outcome(name, outcome, why, time.monotonic() - began)


def main() -> None:
    warnings.simplefilter("ignore")
    wanted = json.load(sys.stdin)
    target = Target(**wanted["target"])
    connect = adapter(sys.argv[1])
    client = connect(target)
    run = Run(client, target, connect, Sizes(**wanted["sizes"]), wanted["bucket"])
    try:
        # Made beforehand by the one who starts this: not every client makes buckets.
        for name in wanted["operations"] or OPERATIONS:
            print(json.dumps(perform(run, name).__dict__), flush=True)
    finally:
        client.close()


if __name__ == "__main__":
    main()
