"""HotCache on a local disk."""

from controlplane.adapters.disk_cache.cache import DiskHotCache

__all__ = ["DiskHotCache"]
