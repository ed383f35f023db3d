"""TLS with client certificates, users and tokens: what is right works on, what is wrong is refused in clear words."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from controlplane.adapters.etcd import EtcdDirectory, EtcdOptions
from controlplane.adapters.system_clock import SystemClock
from controlplane.ports.errors import Rejected, Unavailable
from tests.contract.directory_suite import endpoint, nodes, watching
from tests.support.etcd_cluster import Authority, EtcdCluster

pytestmark = pytest.mark.usefixtures("forgive_lost_connections")

PASSWORD = "correct horse"
TOKEN_TTL_S = 2


@pytest.fixture(scope="module")
def cluster() -> Iterator[EtcdCluster]:
    with EtcdCluster(3, tls=True, auth=PASSWORD, token_ttl_s=TOKEN_TTL_S) as cluster:
        yield cluster


@asynccontextmanager
async def connected(cluster: EtcdCluster, name: str = "test", **changes: Any) -> AsyncIterator[EtcdDirectory]:
    assert cluster.authority is not None
    arguments: dict[str, Any] = {
        "username": "millrace",
        "password": PASSWORD,
        "ca_file": cluster.authority.ca_file,
        "cert_file": cluster.authority.cert_file,
        "key_file": cluster.authority.key_file,
        "recheck_s": 2.0,
    }
    directory = EtcdDirectory(EtcdOptions(cluster.urls, **{**arguments, **changes}), name, SystemClock())
    try:
        yield directory
    finally:
        await directory.aclose()


async def test_a_client_with_certificate_and_password_may_do_everything(cluster: EtcdCluster, service: str) -> None:
    async with connected(cluster) as directory, watching(directory, service) as watcher:
        assert nodes(await watcher.next()) == []
        await directory.announce(endpoint("a", service), 10)
        assert nodes(await watcher.next()) == ["a"]
        assert await directory.compare_and_swap(f"shards/{service}", None, "x", ttl_s=5) is not None
        await directory.withdraw(endpoint("a", service))
        assert nodes(await watcher.next()) == []
        assert await directory.check() == "3 of 3 members healthy"


async def test_expired_tokens_are_renewed_unnoticed(cluster: EtcdCluster, service: str) -> None:
    async with connected(cluster) as directory, watching(directory, service) as watcher:
        await watcher.next()
        for weight in range(3):
            await asyncio.sleep(TOKEN_TTL_S + 0.7)
            await asyncio.gather(*(directory.announce(endpoint(node, service, weight), 30) for node in "abc"))
            await watcher.until(lambda found, weight=weight: [one.weight for one in found.endpoints] == [weight] * 3)


async def test_members_that_forgot_the_tokens_by_a_restart_are_served_again(cluster: EtcdCluster, service: str) -> None:
    async with connected(cluster) as directory:
        await directory.announce(endpoint("a", service), 30)
        for at in range(3):
            await asyncio.to_thread(cluster.restart_member, at)
            await directory.announce(endpoint("a", service), 30)
            assert nodes(await directory.endpoints(service)) == ["a"]


async def test_members_that_were_restored_are_served_again(service: str) -> None:
    """Their log begins anew: a token of a later place in the former one is neither answered nor refused."""
    with EtcdCluster(1, auth=PASSWORD) as restored:
        for number in range(20):
            await asyncio.to_thread(restored.put, f"/elsewhere/{number}", "x")
        options = EtcdOptions(restored.urls, username="millrace", password=PASSWORD, timeout_s=2)
        directory = EtcdDirectory(options, "test", SystemClock())
        await directory.announce(endpoint("a", service), 30)
        await asyncio.to_thread(restored.start_anew)
        with pytest.raises(Unavailable, match="no answer within 2 s"):
            await directory.endpoints(service)
        assert nodes(await directory.endpoints(service)) in ([], ["a"])
        await directory.announce(endpoint("b", service), 30)
        assert "b" in nodes(await directory.endpoints(service))
        await directory.aclose()


async def test_a_wrong_password_is_rejected(cluster: EtcdCluster, service: str) -> None:
    async with connected(cluster, password="wrong") as directory:
        with pytest.raises(Rejected, match=r"refused the user 'millrace'.*password") as caught:
            await directory.endpoints(service)
        assert "wrong" not in str(caught.value)
        with pytest.raises(Rejected):
            await directory.announce(endpoint("a", service), 5)
        with pytest.raises(Rejected):
            await anext(directory.watch(service))
        with pytest.raises(Rejected):
            await directory.check()


async def test_no_user_where_one_is_needed_is_rejected(cluster: EtcdCluster, service: str) -> None:
    async with connected(cluster, username="", password="") as directory:
        with pytest.raises(Rejected, match=r"set directory\.etcd\.username"):
            await directory.endpoints(service)


async def test_keys_that_the_role_does_not_grant_are_rejected(cluster: EtcdCluster, service: str) -> None:
    cluster.call("/v3/auth/user/add", {"name": "poor", "password": PASSWORD})
    async with connected(cluster, username="poor") as directory:
        with pytest.raises(Rejected, match="grant the user's role"):
            await directory.endpoints(service)
        with pytest.raises(Rejected, match="grant the user's role"):
            await directory.announce(endpoint("a", service), 5)


async def test_a_server_of_another_authority_is_refused(cluster: EtcdCluster, service: str, tmp_path: Path) -> None:
    other = Authority.make(tmp_path, "other")
    async with connected(cluster, ca_file=other.ca_file) as directory:
        with pytest.raises(Unavailable, match=r"TLS certificate was refused .*check directory\.etcd\.ca_file"):
            await directory.endpoints(service)


@pytest.mark.parametrize("which", ["none", "other"])
async def test_a_client_without_the_right_certificate_is_refused(
    cluster: EtcdCluster, service: str, tmp_path: Path, which: str
) -> None:
    other = Authority.make(tmp_path, "other")
    cert_file, key_file = (None, None) if which == "none" else (other.cert_file, other.key_file)
    async with connected(cluster, cert_file=cert_file, key_file=key_file) as directory:
        with pytest.raises(Unavailable, match="certificate"):
            await directory.endpoints(service)


def _missing(folder: Path) -> Path:
    return folder / "missing.pem"


def _no_certificate(folder: Path) -> Path:
    (folder / "text.pem").write_text("not a certificate")
    return folder / "text.pem"


@pytest.mark.parametrize("made_by", [_missing, _no_certificate])
async def test_unusable_tls_files_are_rejected_by_name(
    cluster: EtcdCluster, service: str, tmp_path: Path, made_by: Callable[[Path], Path]
) -> None:
    async with connected(cluster, ca_file=made_by(tmp_path)) as directory:
        with pytest.raises(Rejected, match=r"cannot use the TLS files.*\.pem"):
            await directory.endpoints(service)


async def test_a_certificate_that_the_gateway_refuses_is_named_as_the_reason(service: str) -> None:
    with EtcdCluster(1, tls=True, auth=PASSWORD, common_name=True) as named:
        async with connected(named) as directory:
            with pytest.raises(Rejected, match="CommonName"):
                await directory.endpoints(service)


async def test_a_user_is_no_fault_while_etcd_has_authentication_off(service: str, tmp_path: Path) -> None:
    """So that a user can be configured first and required afterwards."""
    with EtcdCluster(1) as plain:
        options = EtcdOptions(plain.urls, username="millrace", password=PASSWORD)
        directory = EtcdDirectory(options, "test", SystemClock())
        await directory.announce(endpoint("a", service), 30)
        await asyncio.to_thread(plain.enable_auth, PASSWORD)
        await directory.announce(endpoint("b", service), 30)
        assert nodes(await directory.endpoints(service)) == ["a", "b"]
        await directory.aclose()
