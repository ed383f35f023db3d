"""Listings that cannot be the truth are refused; buckets are made and judged; TLS is verified."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from controlplane.adapters.s3 import S3Buckets, S3ObjectStore, S3Options
from controlplane.model.keys import Bucket, Key, StoreName
from controlplane.ports.errors import Conflict, Forbidden, NotFound, Rejected, Unavailable
from tests.integration.s3.faulty_server import Fault, FaultyS3, error
from tests.integration.s3.faulty_store import ImpatientClock, options_for
from tests.support.s3_buckets import make_bucket
from tests.support.s3_servers import S3Server, moto_server


def page(*keys: str, truncated: bool = False, token: str = "") -> bytes:
    entries = "".join(
        f"<Contents><Key>{key}</Key><LastModified>20261122T215149Z</LastModified><ETag>e</ETag><Size>1</Size></Contents>"
        for key in keys
    )
    more = f"<NextContinuationToken>{token}</NextContinuationToken>" if token else ""
    flag = str(truncated).lower()
    return f"<ListBucketResult><IsTruncated>{flag}</IsTruncated>{more}{entries}</ListBucketResult>".encode()


async def test_version_2_truncated_without_a_token_is_no_end(server: FaultyS3, store: S3ObjectStore) -> None:
    """Riak CS answers list-type=2 so: taken for the end, every key after the first thousand would be lost."""
    server.faults = [Fault(body=page("a", "b", truncated=True))]
    with pytest.raises(Unavailable, match="set list_version = 1"):
        await store.list()
    server.faults = [Fault(body=page("a", "b", truncated=True, token="t"))]
    assert (await store.list()).next_after == "b"


async def test_a_server_that_ignores_where_to_begin_is_found_out(server: FaultyS3, store: S3ObjectStore) -> None:
    server.faults = [Fault(body=page("a", "b"))]
    with pytest.raises(Unavailable, match="does not begin after"):
        await store.list(after=Key("a"))


@pytest.mark.parametrize("version", [1, 2])
async def test_pages_that_are_not_in_order_are_refused(server: FaultyS3, version: int) -> None:
    options = options_for(server.url, list_version=version)
    store = S3ObjectStore(StoreName("s3"), options, ImpatientClock(), Random(1))
    for body in (
        page("b", "a", truncated=True, token="t"),
        page("a", "a"),
        page(truncated=True, token="t"),
        page("a", "\u00e9")[:-9],
    ):
        server.faults = [Fault(body=body)]
        with pytest.raises(Unavailable):
            await store.list()
    server.faults = [Fault(body=page("other"))]
    with pytest.raises(Unavailable, match="without the prefix"):
        await store.list(prefix="mine/")
    server.faults = [Fault(body=page("b", "a"))]
    assert [info.key for info in (await store.list()).objects] == ["a", "b"]
    with pytest.raises(Rejected):
        await store.list(limit=0)
    await store.aclose()


async def test_each_version_asks_in_its_own_way_and_under_the_prefix(server: FaultyS3) -> None:
    for version, name in ((1, "marker"), (2, "start-after")):
        options = options_for(server.url, list_version=version, prefix="p/", signature="v2" if version == 1 else "v4")
        store = S3ObjectStore(StoreName("s3"), options, ImpatientClock(), Random(1))
        server.faults = [Fault(body=page("p/k2", "p/k3", truncated=True, token="t"))]
        found = await store.list(prefix="k", after=Key("k1"), limit=2)
        assert [info.key for info in found.objects] == ["k2", "k3"]
        assert found.next_after == "k3"
        query = server.seen[-1].query
        assert (query["prefix"], query[name], query["max-keys"]) == ("p/k", "p/k1", "2")
        assert ("list-type" in query) == (version == 2)
        await store.aclose()


@pytest.fixture(scope="module")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with moto_server(tmp_path_factory.mktemp("moto")) as running:
        yield running


@pytest.mark.parametrize(("signature", "region"), [("v4", "us-east-1"), ("v4", "eu-central-1"), ("v2", "us-east-1")])
async def test_a_bucket_is_made_once(moto: S3Server, signature: str, region: str) -> None:
    bucket = f"made-{signature}-{region}"
    options = options_for(moto.url, bucket=bucket, signature=signature, region=region, read_timeout_s=10.0)
    store = S3ObjectStore(StoreName("s3"), options, ImpatientClock(), Random(1))
    with pytest.raises(NotFound):
        await store.check()
    assert await store.create_bucket()
    assert not await store.create_bucket()
    await store.check()
    await store.aclose()


async def test_an_endpoint_that_answers_makes_it(moto: S3Server) -> None:
    assert await make_bucket(options_for("http://127.0.0.1:9", moto.url, bucket="second", read_timeout_s=10.0))
    with pytest.raises(Unavailable, match=r"http://127\.0\.0\.1:9"):
        await make_bucket(options_for("http://127.0.0.1:9", bucket="second"))


MISSING = Fault(method="GET", status=404, body=error("NoSuchBucket"))


async def test_a_bucket_of_somebody_else_is_told(server: FaultyS3, store: S3ObjectStore) -> None:
    taken = Fault(method="PUT", status=409, body=error("BucketAlreadyExists"))
    closed = Fault(method="GET", status=403, body=error("AccessDenied"))
    server.faults = [MISSING, taken, closed]
    with pytest.raises(Conflict, match="taken by another account"):
        await store.create_bucket()
    server.faults = [closed]
    with pytest.raises(Rejected, match="may use this bucket"):
        await store.create_bucket()
    server.faults = [Fault(status=503, body=error("SlowDown")) for _ in range(4)]
    with pytest.raises(Unavailable):
        await store.create_bucket()


@pytest.mark.parametrize("code", ["BucketAlreadyOwnedByYou", "BucketAlreadyExists"])
async def test_a_bucket_that_another_node_makes_meanwhile_is_ours(
    server: FaultyS3, store: S3ObjectStore, code: str
) -> None:
    server.faults = [MISSING, Fault(method="PUT", status=409, body=error(code))]
    assert not await store.create_bucket()


async def test_a_bucket_that_many_need_at_once_is_made_once(server: FaultyS3) -> None:
    """All copies of a new bucket come to it in the same moment."""
    options = options_for(server.url, bucket="{bucket}")
    stores = S3Buckets(StoreName("t"), options, ImpatientClock(), Random(1), create=True)
    bucket = Bucket("source")
    made = Fault(method="PUT", status=200, body=b"")
    server.faults = [Fault(method="GET", status=403, body=error("AccessDenied"))]
    failed = await asyncio.gather(*(stores.prepare(bucket) for _ in range(16)), return_exceptions=True)
    assert [type(each) for each in failed] == [Forbidden] * 16
    server.faults, server.seen = [MISSING, made], []
    first, *others = [asyncio.ensure_future(stores.prepare(bucket)) for _ in range(16)]
    await asyncio.sleep(0)
    first.cancel()  # the one that began it: the others have it all the same
    await asyncio.gather(*others)
    await stores.prepare(bucket)
    assert [each.method for each in server.seen] == ["GET", "PUT"]
    await stores.aclose()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", "key.pem", "-out", "cert.pem"],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    return folder / "cert.pem", folder / "key.pem"


async def test_https_is_spoken_and_the_certificate_verified(
    server: FaultyS3, certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    listening = await asyncio.start_server(server._serve, "127.0.0.1", 0, ssl=context)
    port = listening.sockets[0].getsockname()[1]

    def over(host: str, ca_file: Path | None) -> S3ObjectStore:
        options: S3Options = options_for(f"https://{host}:{port}", ca_file=ca_file, attempts=1)
        return S3ObjectStore(StoreName("s3"), options, ImpatientClock(), Random(1))

    trusted = over("localhost", certificate[0])
    await trusted.put(Key("k"), b"over tls" * 100_000)
    reader = await trusted.get(Key("k"))
    assert b"".join([chunk async for chunk in reader]) == b"over tls" * 100_000
    await trusted.aclose()
    (tmp_path / "no.pem").write_text("no certificate")
    for store in (over("localhost", None), over("127.0.0.1", certificate[0]), over("localhost", tmp_path / "no.pem")):
        with pytest.raises(Unavailable, match="cannot connect"):
            await store.check()
        await store.aclose()
    listening.close()


@pytest.mark.parametrize(
    "changes",
    [
        {"endpoints": ("ftp://x",)}, {"endpoints": ("http://x/path",)}, {"endpoints": ("http://u:p@x",)},
        {"endpoints": ()}, {"bucket": ""}, {"access_key": ""}, {"connections": 0}, {"read_timeout_s": 0.0},
    ],
)  # fmt: skip
def test_options_that_cannot_work_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"S3|together|at least|greater"):
        replace(options_for("http://127.0.0.1:1"), **changes)  # type: ignore[arg-type]


def test_options_never_show_the_secret() -> None:
    assert "SK" not in repr(options_for("http://127.0.0.1:1"))
