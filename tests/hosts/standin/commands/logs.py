"""The console.log of a node."""

import logging
import logging.handlers
from pathlib import Path

from tests.hosts.standin.config.cuttlefish import Configuration
from tests.hosts.standin.kv.backends import size_in_bytes


def open_console(configuration: Configuration) -> logging.Logger:
    values = configuration.values
    path = Path(values["logger.file"])
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.handlers.RotatingFileHandler(
        path,
        maxBytes=size_in_bytes(values["logger.max_file_size"]),
        backupCount=int(values["logger.max_files"]),
    )
    handler.setFormatter(logging.Formatter("%(asctime)s.%(msecs)03d [%(levelname)s] %(message)s", "%Y-%m-%d %H:%M:%S"))
    logger = logging.getLogger()
    logger.handlers[:] = [handler]
    logger.setLevel(logging.INFO)
    return logger
