"""The secret between a node's gateway and its agent's probe: a file that only their user can read."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def probe_token(data_dir: Path) -> str:
    """The token in `<data_dir>/probe.token`; made by whoever comes first."""
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o750)
    path = data_dir / "probe.token"
    fresh = secrets.token_urlsafe(32)
    own = path.with_name(f"probe.token.{os.getpid()}")
    fd = os.open(own, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(fd, "w") as file:
        file.write(fresh)
        file.flush()
        os.fsync(file.fileno())
    try:
        # A link is made by one process only, and never shows a half-written file.
        os.link(own, path)
    except FileExistsError:
        pass
    finally:
        own.unlink()
    return path.read_text().strip()
