"""The role etcd's modules against real members: users, rights, and members that lost their data."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.kit.conftest import load
from tests.support.etcd_cluster import EtcdCluster

ROOT_PASSWORD, PASSWORD = "root-password-1", "user-password-1"
USERS = [{"name": "millrace", "password": PASSWORD, "prefixes": ["/millrace/"]}]


@pytest.fixture(scope="module")
def json_api() -> Iterator[ModuleType]:
    """As Ansible ships it: beside the modules, under ansible.module_utils."""
    name = "ansible.module_utils.etcd_json"
    sys.modules[name] = load("roles/etcd/module_utils/etcd_json.py")
    yield sys.modules[name]
    del sys.modules[name]


@pytest.fixture(scope="module")
def access(json_api: ModuleType) -> ModuleType:
    return load("roles/etcd/library/etcd_access.py")


@pytest.fixture(scope="module")
def member(json_api: ModuleType) -> ModuleType:
    return load("roles/etcd/library/etcd_member.py")


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[EtcdCluster]:
    with EtcdCluster(1) as running:
        yield running


def ensure(
    access: ModuleType, json_api: ModuleType, url: str, password: str = ROOT_PASSWORD, **more: object
) -> list[str]:
    one = access.Access(lambda: json_api.EtcdClient([url]), bool(more.get("check_mode")))
    one.ensure(password, str(more.get("former", "")), more.get("users", USERS))
    return list(one.done)


def test_users_are_made_once_and_have_exactly_their_rights(
    access: ModuleType, json_api: ModuleType, cluster: EtcdCluster
) -> None:
    url = cluster.urls[0]
    assert ensure(access, json_api, url, check_mode=True)
    assert json_api.EtcdClient([url]).call("auth/user/list").get("users", []) == []
    assert ensure(access, json_api, url)
    assert ensure(access, json_api, url) == []

    user = json_api.EtcdClient([url])
    user.log_in("millrace", PASSWORD)
    user.call("kv/put", key=json_api.encode("/millrace/v1/a"), value=json_api.encode("x"))
    for key in ("/millrace", "/millrace0", "/other"):
        with pytest.raises(json_api.EtcdRefused, match="permission denied"):
            user.call("kv/put", key=json_api.encode(key), value=json_api.encode("x"))
    with pytest.raises(json_api.EtcdRefused):
        json_api.EtcdClient([url]).call("kv/range", key=json_api.encode("/millrace/v1/a"))

    narrower = [{**USERS[0], "prefixes": ["/millrace/v1/"]}]
    done = ensure(access, json_api, url, users=narrower)
    assert done == ["role millrace loses a right (READWRITE)", "role millrace may read and write /millrace/v1/"]


def test_passwords_are_replaced_with_the_help_of_the_former_one(
    access: ModuleType, json_api: ModuleType, cluster: EtcdCluster
) -> None:
    url = cluster.urls[0]
    ensure(access, json_api, url)
    with pytest.raises(json_api.EtcdRefused, match="give the former too"):
        ensure(access, json_api, url, "root-password-2")
    renewed = [{**USERS[0], "password": "user-password-2"}]
    done = ensure(access, json_api, url, "root-password-2", former=ROOT_PASSWORD, users=renewed)
    assert done == ["root gets its new password", "user millrace gets its password"]
    assert ensure(access, json_api, url, "root-password-2", users=renewed) == []


def test_a_run_that_broke_off_is_taken_up(access: ModuleType, json_api: ModuleType, cluster: EtcdCluster) -> None:
    url = cluster.urls[0]
    client = json_api.EtcdClient([url])
    client.call("auth/user/add", name="root", password="something-else")
    client.call("auth/role/add", name="millrace")
    ensure(access, json_api, url)
    json_api.EtcdClient([url]).log_in("root", ROOT_PASSWORD)


def test_an_outage_names_every_member(json_api: ModuleType) -> None:
    client = json_api.EtcdClient(["http://127.0.0.1:9", "http://127.0.0.1:19"])
    with pytest.raises(json_api.EtcdUnreachable, match=r"127\.0\.0\.1:9: .*127\.0\.0\.1:19: "):
        client.call("cluster/member/list")


@pytest.mark.parametrize(
    ("prefix", "end"), [("/millrace/", b"/millrace0"), ("a\x7f", b"a\x80"), ("", b"\x00")], ids=["path", "odd", "all"]
)
def test_the_end_of_a_prefix(json_api: ModuleType, prefix: str, end: bytes) -> None:
    import base64

    assert base64.b64decode(json_api.end_of_prefix(prefix)) == end


def test_who_lost_data_leaves_and_who_never_started_stays(member: ModuleType) -> None:
    n1 = {"ID": "1", "name": "n1", "peerURLs": ["https://a:2380"]}
    lost = {"ID": "2", "name": "n2", "peerURLs": ["https://b:2380"]}
    other_name = {"ID": "3", "name": "old", "peerURLs": ["https://b:2380"]}
    unstarted = {"ID": "4", "peerURLs": ["https://b:2380"]}
    assert member.to_remove([n1, lost], "n2", "https://c:2380") == [lost]
    assert member.to_remove([n1, other_name], "n2", "https://b:2380") == [other_name]
    assert member.to_remove([n1, unstarted], "n2", "https://b:2380") == []
    assert member.initial_cluster([n1, unstarted], "n2", "https://b:2380") == "n1=https://a:2380,n2=https://b:2380"


def test_a_member_is_replaced_in_a_real_cluster(member: ModuleType, json_api: ModuleType) -> None:
    with EtcdCluster(3) as cluster:
        client = json_api.EtcdClient(list(cluster.urls[:2]))
        before = client.call("cluster/member/list")["members"]
        lost = next(one for one in before if cluster.urls[2] in one["clientURLs"])
        cluster.stop_member(2)
        given = {"name": lost["name"], "peer_url": lost["peerURLs"][0], "state": "present"}
        assert member.change(client, given, True)["changed"]
        done = member.change(client, given, False)
        assert done["removed"] == [member.hexadecimal(lost)]
        assert f"{lost['name']}={lost['peerURLs'][0]}" in done["initial_cluster"].split(",")
        again = member.change(client, given, False)
        assert (again["changed"], again["removed"]) == (False, [])
        assert again["initial_cluster"] == done["initial_cluster"]
        assert member.change(client, {**given, "state": "absent", "name": "nobody"}, False)["changed"] is False
