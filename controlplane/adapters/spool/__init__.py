"""The spool: bodies are received into memory (small) or an unnamed-to-others file (large), hashed on the way."""

from controlplane.adapters.spool.disk import DiskSpool

__all__ = ["DiskSpool"]
