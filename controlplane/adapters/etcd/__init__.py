"""etcd v3 as the Directory, spoken over its JSON gateway with aiohttp (figures: docs/decisions/0002)."""

from controlplane.adapters.etcd.directory import EtcdDirectory
from controlplane.adapters.etcd.options import EtcdOptions

__all__ = ["EtcdDirectory", "EtcdOptions"]
