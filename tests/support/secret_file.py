"""Files as Millrace takes secrets from: nobody but their owner may read them."""

from __future__ import annotations

from pathlib import Path


def secret_file(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path
