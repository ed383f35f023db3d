"""A process that appends to a journal and says so after each: `appender.py PATH`. The test kills it."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from controlplane.adapters.sqlite.journal import SqliteJournal
from controlplane.model.keys import Bucket, Key
from controlplane.model.task import Draft, Op


async def main() -> None:
    journal = SqliteJournal(Path(sys.argv[1]), limit=1_000_000)
    await journal.open()

    async def work(worker: int) -> None:
        while True:
            task = await journal.append(Draft(Op.PUT, Bucket("b"), Key(f"{os.getpid()}/{worker}")), time.time())
            os.write(1, f"{task.seq}\n".encode())

    await asyncio.gather(*(work(worker) for worker in range(8)))


asyncio.run(main())
