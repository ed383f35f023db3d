"""Where scans keep what they know."""

from __future__ import annotations

from pathlib import Path

from controlplane.settings.tree import Settings

SHARED_DOCUMENTS = "scan"
"""In the directory: when the last scan ended, and who had which keys."""


def scan_folder(settings: Settings) -> Path:
    """Where the agent's scan keeps how far it has come, without etcd."""
    return settings.node.data_dir / "scan"
