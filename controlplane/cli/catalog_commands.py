"""`millrace catalog rebuild`: the catalog is a cache of what the stores say (I9)."""

from __future__ import annotations

import asyncio
from argparse import Namespace
from dataclasses import asdict
from typing import TYPE_CHECKING

from controlplane.cli import output, settings_source
from controlplane.cli.exit_codes import ExitCode
from controlplane.cli.progress import counter

if TYPE_CHECKING:
    from controlplane.services.catalog_rebuild import Rebuilt


def rebuild(arguments: Namespace) -> int:
    """A row for every blob and every copy of an S3 object. 6 when two contents have one MD5 (I3)."""
    settings = settings_source.load(arguments.config, data_dir=arguments.data_dir)
    settings_source.become_owner(settings.node.data_dir)

    async def run() -> Rebuilt:
        from controlplane.wiring.catalog_rebuild import rebuild_catalog

        with counter("looking", "objects", quiet=arguments.quiet) as meter:
            return await rebuild_catalog(settings, meter.moved)

    result = asyncio.run(run())
    if arguments.json:
        output.document(asdict(result))
    else:
        output.line(
            f"{result.blobs} places of blobs, {result.copies} copies of S3 objects, {result.tombstones} tombstones"
            + (f"; {result.foreign} objects of others" if result.foreign else "")
        )
    if result.collisions:
        output.error(f"{result.collisions} blobs have another content than the catalog knows: see the log above")
        return ExitCode.CORRUPT
    return ExitCode.OK
