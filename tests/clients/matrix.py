"""Runs clients through the scenario, each in a process of its own, and shows what came of it as a table."""

from __future__ import annotations

import concurrent.futures
import json
import secrets
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import boto3

from tests.clients.run import CLIENTS, Outcome
from tests.clients.scenario import OPERATIONS, Sizes
from tests.clients.verbs import REGION, Target
from tests.support.riak_cs import RiakCs, User

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".venv-clients" / "bin" / "python"
CLIENT_TIMEOUT_S = 1200


@dataclass
class Column:
    """One client at one address. `failure` is set when it could not run at all."""

    client: str
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    failure: str = ""

    def cell(self, operation: str) -> str:
        found = self.outcomes.get(operation)
        return found.outcome if found else "?"

    def problems(self) -> list[str]:
        """Everything that is not as it should be, a line each."""
        bad = [f"{o.operation}: {o.why}" for o in self.outcomes.values() if o.outcome == "no"]
        return bad + ([f"could not run: {self.failure}"] if self.failure else [])


def make_environment() -> None:
    """The clients' own environment from its lock; at once when it is there already."""
    subprocess.run(["make", "--silent", ".venv-clients/.lock-installed"], cwd=ROOT, check=True, capture_output=True)


def seed(riak_cs: RiakCs, user: User, count: int) -> Sizes:
    """A bucket with `count` keys, put there directly: only listing them is of interest. `large` is set by callers."""
    bucket = f"many-{secrets.token_hex(4)}"
    s3 = boto3.client(
        "s3", endpoint_url=riak_cs.url, region_name=REGION, aws_access_key_id=user.key,
        aws_secret_access_key=user.secret,
    )  # fmt: skip
    s3.create_bucket(Bucket=bucket)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: s3.put_object(Bucket=bucket, Key=f"many/{n:05}", Body=b"x"), range(count)))
    s3.close()
    return Sizes(large=100 << 20, many=count, many_bucket=bucket)


def remove_buckets(riak_cs: RiakCs, user: User) -> None:
    """All that this user has. A stand-in goes with its data; a real Riak CS is left as it was, but for the user."""
    if not riak_cs.real:
        return
    session = boto3.Session(user.key, user.secret, region_name=REGION)
    store = session.resource("s3", endpoint_url=riak_cs.url)
    for bucket in store.buckets.all():
        for upload in bucket.multipart_uploads.all():
            upload.abort()
        # Not bucket.objects, which stops at the first 1000: Riak CS has version 1 only.
        pages = store.meta.client.get_paginator("list_objects").paginate(Bucket=bucket.name)
        for key in [found["Key"] for page in pages for found in page.get("Contents", [])]:
            store.meta.client.delete_object(Bucket=bucket.name, Key=key)
        bucket.delete()


def run_client(
    client: str, url: str, user: User, sizes: Sizes, folder: Path, ca_file: str = "", operations: Sequence[str] = ()
) -> Column:
    """One client through the scenario (or some operations of it), in the clients' environment."""
    bucket = f"c-{client}-{secrets.token_hex(4)}"
    home = folder / f"{client}-{secrets.token_hex(2)}"
    _make_bucket(url, ca_file, user, bucket)
    target = Target(url, ca_file, user.key, user.secret, str(home))
    wanted = {"target": asdict(target), "sizes": asdict(sizes), "bucket": bucket, "operations": list(operations)}
    column = Column(client)
    try:
        done = subprocess.run(
            [PYTHON, "-W", "ignore", "-m", "tests.clients.run", client], input=json.dumps(wanted), text=True,
            capture_output=True, cwd=ROOT, timeout=CLIENT_TIMEOUT_S, check=False,
        )  # fmt: skip
        said, code, errors = done.stdout, done.returncode, done.stderr
    except subprocess.TimeoutExpired as error:
        said, code, errors = (error.stdout or b"").decode(), -1, f"not done after {CLIENT_TIMEOUT_S} s"
    finally:
        for path in folder.glob(f"{home.name}*"):
            shutil.rmtree(path)
    for line in said.splitlines():
        if line.startswith("{"):
            outcome = Outcome(**json.loads(line))
            column.outcomes[outcome.operation] = outcome
    if code != 0 or len(column.outcomes) < len(operations or OPERATIONS):
        column.failure = f"exit code {code}: {errors[-2000:]}"
    return column


def _make_bucket(url: str, ca_file: str, user: User, bucket: str) -> None:
    s3 = boto3.client(
        "s3", endpoint_url=url, region_name=REGION, aws_access_key_id=user.key, aws_secret_access_key=user.secret,
        verify=ca_file or None,
    )  # fmt: skip
    s3.create_bucket(Bucket=bucket)
    s3.close()


def run_all(
    clients: Sequence[str], url: str, user: User, sizes: Sizes, folder: Path, ca_file: str = "", *, at_once: int = 2
) -> list[Column]:
    """Several clients beside one another."""
    folder.mkdir(parents=True, exist_ok=True)
    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(lambda name: run_client(name, url, user, sizes, folder, ca_file), clients))


def table(columns: Sequence[Column]) -> str:
    """Operations down, clients across; also good Markdown."""
    titles = ("operation", *(column.client for column in columns))
    lines = [titles, *((name, *(column.cell(name) for column in columns)) for name in OPERATIONS)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(titles))]
    shown = ["| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |" for line in lines]
    return "\n".join([shown[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *shown[1:]])


__all__ = ["CLIENTS", "Column", "make_environment", "remove_buckets", "run_all", "run_client", "seed", "table"]
