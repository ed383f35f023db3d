"""The arguments of `millrace simulate`."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable


def add(parser: argparse.ArgumentParser) -> None:
    """Numbers may be written as 10e9."""
    for option, kind, default, metavar, what in (
        ("--objects", count, 10e9, "N", "objects under mirror rules"),
        ("--nodes", count, 1000, "N", "nodes whose agent has a share in the work"),
        ("--lose", count_or_none, 1, "N", "agents that die at once: those with the most shards"),
        ("--lease-ttl", amount, 10, "SECONDS", "as cluster.lease_ttl_s"),
        ("--scan-days", amount, 7, "DAYS", "everything is to be scanned once in this time"),
        ("--scan-workers", count, 4, "N", "as mirror.scan.workers: listings under way at once on a node that scans"),
        ("--scan-nodes", count, 4, "N", "nodes that share a scan"),
        ("--page", count, 1000, "KEYS", "keys in an answer to a list request"),
        ("--page-ms", amount, 100, "MS", "for one of them, at the slower store"),
        ("--list-price", amount_or_none, 0.005, "PRICE", "of 1,000 list requests at the target"),
        ("--writes", amount, 1000, "N", "objects written a second, on all nodes together"),
        ("--outage-hours", amount, 24, "HOURS", "for which the target is away"),
        ("--journal-limit", count, 1e6, "N", "as journal.limit"),
        ("--disk-gb", amount, 500, "GB", "that a node which scans has for the catalog"),
        ("--key-bytes", count, 48, "BYTES", "of a key"),
        ("--seed", count_or_none, 0, "N", "of the simulation's chance"),
    ):
        parser.add_argument(
            option, type=kind, default=kind(str(default)), metavar=metavar, help=f"{what} (default: {default:,g})"
        )


def _number(what: str, fits: Callable[[float], bool]) -> Callable[[str], float]:
    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and fits(value)):
            raise argparse.ArgumentTypeError(f"{text!r} is not {what}")
        return value

    return read


amount = _number("a number above 0", lambda value: value > 0)
amount_or_none = _number("a number from 0 up", lambda value: value >= 0)
_whole = _number("a whole number from 1 up", lambda value: value >= 1 and value.is_integer())
_whole_or_none = _number("a whole number from 0 up", lambda value: value >= 0 and value.is_integer())


def count(text: str) -> int:
    return int(_whole(text))


def count_or_none(text: str) -> int:
    return int(_whole_or_none(text))
