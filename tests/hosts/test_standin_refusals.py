"""The stand-ins refuse what the real ones refuse, and take what the roles render. On loopback, without hosts."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.hosts.standin.config import cs_schema, cuttlefish, kv_schema
from tests.hosts.standin.cs.service import CsService
from tests.hosts.standin.kv import backends
from tests.hosts.standin.kv.backends import StartFailure
from tests.hosts.standin.kv.node import Tuning
from tests.hosts.standin.kv.service import KvService
from tests.hosts.standin.loopback import ADVANCED, CS_CONF, KV_CONF
from tests.hosts.standin.packages import stock
from tests.kit.test_versions import Rendered
from tests.support.ports import free_port

ROLES = Rendered("3.2.3", "3.2.4")


def cs_conf(folder: Path, pb: int = 1) -> str:
    return CS_CONF.format(cs=0, admin=0, stanchion=0, pb=pb, key="admin-key", folder=folder)


@pytest.mark.parametrize(
    ("line", "last_words"),
    [
        ("nonsense.key = 1", "Conf file attempted to set unknown variable: nonsense.key"),
        ("pool.request.size = abc", '"abc" cannot be converted to a(n) integer'),
        ("auth_v4 = maybe", '"maybe" is not a valid enum value, acceptable values are: on, off'),
        ("listener = 127.0.0.1", '"127.0.0.1" cannot be converted to a(n) IP'),
        ("this line is no assignment", "parsing incomplete"),
    ],
)
def test_a_wrong_file_is_refused_in_the_recorded_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str, last_words: str
) -> None:
    """cli/chkconfig-bad.txt: of the escript that says why."""
    file = tmp_path / "riak-cs.conf"
    file.write_text(f"{cs_conf(tmp_path)}{line}\n")
    words = ["-e", tmp_path, "-s", "/usr/lib/riak-cs/share/schema", "-d", tmp_path / "out", "-c", file]
    assert cuttlefish.main([str(word) for word in words]) == 1
    assert capsys.readouterr().out.splitlines()[-1].endswith(last_words)
    assert not (tmp_path / "out").exists()


def kv(folder: Path, conf: str, advanced: str = ADVANCED) -> KvService:
    (folder / "riak.conf").write_text(conf)
    (folder / "advanced.config").write_text(advanced)
    configuration = cuttlefish.load(folder / "riak.conf", kv_schema.SETTINGS)
    return KvService(configuration, folder, Tuning(use_epmd=False, replicas=1))


@pytest.mark.parametrize(
    ("conf", "advanced", "words"),
    [
        (KV_CONF + kv_schema.STOCK_DEFECT, ADVANCED, "backend_not_found"),
        (KV_CONF.replace("multi_backend.default = be_default\n", ""), ADVANCED, "backend_not_found"),
        (KV_CONF, ADVANCED.replace('<<"be_blocks">>', '<<"be_block">>'), "be_block"),
        (KV_CONF, ADVANCED.replace('<<"be_blocks">>', "be_blocks"), "not_binaries"),
        (KV_CONF.replace("multi_backend.be_blocks.bitcask.data_root", "platform_lib_dir"), ADVANCED, "data_root"),
    ],
    ids=["phantom", "no default", "unknown backend", "atoms", "no folder"],
)
def test_a_node_with_wrong_backends_dies(tmp_path: Path, conf: str, advanced: str, words: str) -> None:
    with pytest.raises(StartFailure, match=words):
        kv(tmp_path, conf.format(kv=0, pb=0, folder=tmp_path), advanced).start()


def test_the_file_that_the_package_ships_has_the_phantom(tmp_path: Path) -> None:
    text = stock.conf(kv_schema.SETTINGS, defect=True)
    with pytest.raises(StartFailure, match="backend_not_found"):
        kv(tmp_path, text.replace("storage_backend = bitcask", "storage_backend = prefix_multi", 1))


def test_riak_cs_without_a_riak_dies(tmp_path: Path) -> None:
    file = tmp_path / "riak-cs.conf"
    file.write_text(cs_conf(tmp_path, pb=free_port()))
    with pytest.raises(StartFailure, match="Riak is not available at riak_host"):
        CsService(cuttlefish.load(file, cs_schema.SETTINGS), use_epmd=False)


def test_what_the_roles_render_is_taken_and_means_what_it_should(tmp_path: Path) -> None:
    (tmp_path / "advanced.config").write_text(ROLES.text("riak", "advanced.config"))
    (tmp_path / "riak.conf").write_text(ROLES.text("riak", "riak.conf"))
    found = backends.read(cuttlefish.load(tmp_path / "riak.conf", kv_schema.SETTINGS), tmp_path / "advanced.config")
    assert (found.kind, found.default) == ("prefix_multi", "be_default")
    assert {name: backend.kind for name, backend in found.named.items()} == {
        "be_default": "leveldb", "be_blocks": "bitcask", "be_cache": "memory",
    }  # fmt: skip
    assert found.prefixes == (("0b:", "be_blocks"),)
    (tmp_path / "riak-cs.conf").write_text(ROLES.text("riak_cs", "riak-cs.conf"))
    configuration = cuttlefish.load(tmp_path / "riak-cs.conf", cs_schema.SETTINGS)
    assert configuration.values["anonymous_user_creation"] == "off"
