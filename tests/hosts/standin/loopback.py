"""Both stand-ins in this process, on loopback: for the control plane's own tests and for a look by hand."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.hosts.standin.config import cs_schema, cuttlefish, kv_schema
from tests.hosts.standin.cs.service import CsService
from tests.hosts.standin.cs.users import User
from tests.hosts.standin.kv.node import Tuning
from tests.hosts.standin.kv.service import KvService

KV_CONF = """\
nodename = riak@127.0.0.1
ring_size = 16
listener.http.internal = 127.0.0.1:{kv}
listener.protobuf.internal = 127.0.0.1:{pb}
platform_data_dir = {folder}
platform_log_dir = {folder}
storage_backend = prefix_multi
multi_backend.default = be_default
multi_backend.be_default.storage_backend = leveldb
multi_backend.be_default.leveldb.data_root = $(platform_data_dir)/leveldb
multi_backend.be_blocks.storage_backend = bitcask
multi_backend.be_blocks.bitcask.data_root = $(platform_data_dir)/bitcask
multi_backend.be_cache.storage_backend = memory
multi_backend.be_cache.memory_backend.max_memory_per_vnode = 64MB
buckets.default.allow_mult = true
buckets.default.merge_strategy = 2
"""
ADVANCED = '[{riak_kv, [{multi_backend_prefix_list, [{<<"0b:">>, <<"be_blocks">>}]}]}].\n'
CS_CONF = """\
nodename = riak-cs@127.0.0.1
listener = 127.0.0.1:{cs}
admin.listener = 127.0.0.1:{admin}
riak_host = 127.0.0.1:{pb}
admin.key = {key}
stanchion_port = {stanchion}
platform_data_dir = {folder}
platform_log_dir = {folder}
"""


@dataclass(frozen=True)
class Ports:
    """0 takes a free one."""

    kv: int = 0
    pb: int = 0
    cs: int = 0
    admin: int = 0
    stanchion: int = 0


class Standin:
    """One KV node and one CS node with an admin user; a context manager."""

    def __init__(
        self, folder: Path, ports: Ports | None = None, *, replicas: int | None = 1, hang: float = 1.0
    ) -> None:
        ports = ports or Ports()
        folder.mkdir(parents=True, exist_ok=True)
        conf = folder / "riak.conf"
        conf.write_text(KV_CONF.format(kv=ports.kv, pb=ports.pb, folder=folder))
        (folder / "advanced.config").write_text(ADVANCED)
        tuning = Tuning(hang_seconds=hang, replicas=replicas, use_epmd=False)
        self.kv = KvService(cuttlefish.load(conf, kv_schema.SETTINGS), folder, tuning)
        self.kv.start()
        self._folder, self._ports = folder, ports
        self.cs = self._start_cs("admin-key")
        self.cs.console(["create-admin-user"])
        self.admin: User = next(u for u in self.cs.state.users.all() if u.name == "admin")
        self.cs.state.configuration.values["admin.key"] = self.admin.key_id

    def _start_cs(self, key: str) -> CsService:
        ports = self._ports
        pb = self.kv.pb[0].port
        conf = self._folder / "riak-cs.conf"
        conf.write_text(
            CS_CONF.format(
                cs=ports.cs, admin=ports.admin, pb=pb, key=key, stanchion=ports.stanchion, folder=self._folder
            )
        )
        service = CsService(cuttlefish.load(conf, cs_schema.SETTINGS), use_epmd=False)
        service.start()
        return service

    @property
    def kv_url(self) -> str:
        return f"http://127.0.0.1:{self.kv.web[0].port}"

    @property
    def s3_url(self) -> str:
        return f"http://127.0.0.1:{self.cs.web[0].port}"

    @property
    def admin_url(self) -> str:
        return f"http://127.0.0.1:{self.cs.web[1].port}"

    def stop_kv(self) -> None:
        """Riak CS goes on without it and says so to its clients."""
        self.kv.stop()

    def close(self) -> None:
        self.cs.stop()
        self.kv.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
