#!/usr/bin/env python3
"""Copies a SQLite database that is in use: sqlite_copy.py SOURCE TARGET. As root; works as the owner of SOURCE.

SQLite leaves files beside a database that it opens. They must belong to the service, or it could not open it again.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import sys
import tempfile
from pathlib import Path

SCRATCH = ".millrace-backup-"


def copy(source: Path, into: Path) -> None:
    """A consistent copy of this moment in the source's journal mode, checked. Raises sqlite3.Error and SystemExit."""
    with_source = sqlite3.connect(f"file:{source}?mode=rw", uri=True, timeout=30)
    with_copy = sqlite3.connect(into)
    try:
        with_source.backup(with_copy, pages=1024, sleep=0.01)
        found = [row[0] for row in with_copy.execute("PRAGMA integrity_check")]
        if found != ["ok"]:
            sys.exit(f"{source} is damaged, and so is its copy: {'; '.join(found[:3])}")
    finally:
        with_copy.close()
        with_source.close()


def main(source: Path, target: Path) -> None:
    owner = source.stat()
    for left in source.parent.glob(f"{SCRATCH}*"):
        shutil.rmtree(left)
    # Beside the database, where its owner may write: the folders of the backup are closed to it.
    with tempfile.TemporaryDirectory(dir=source.parent, prefix=SCRATCH) as scratch:
        os.chown(scratch, owner.st_uid, owner.st_gid)
        child = os.fork()
        if child == 0:
            as_owner(owner.st_uid, owner.st_gid, source, Path(scratch, "copy.db"))
        _, status = os.waitpid(child, 0)
        if os.waitstatus_to_exitcode(status) != 0:
            sys.exit(1)
        shutil.copyfile(Path(scratch, "copy.db"), target)
        os.chmod(target, 0o600)


def as_owner(uid: int, gid: int, source: Path, into: Path) -> None:
    """Does not return."""
    code = 1
    try:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
        copy(source, into)
        code = 0
    except sqlite3.Error as error:
        print(f"{source}: {error}", file=sys.stderr)
    except SystemExit as error:
        print(error.code, file=sys.stderr)
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
