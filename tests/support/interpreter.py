"""The Python that Millrace's own processes run on while they are tested or measured."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

PYTHON: Final = str(Path(os.environ.get("TESTED_PYTHON") or sys.executable).absolute())
"""That of an environment which holds what a node runs; by default this process's own."""
