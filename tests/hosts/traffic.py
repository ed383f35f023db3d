"""An S3 client that reads and writes all the time while something is done to the cluster, and counts what fails."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError

from tests.hosts.lab import Lab

ATTEMPTS = 8
"""Of one request, the first one included. botocore waits up to 20 s between two."""
SIZES = (1, 4096, 200_000, 1_048_577, 2_500_000)
"""Inside one block, on the edge of two, and three blocks."""
KEPT = 20
SLOW_S = 3.0


@dataclass
class Counts:
    """`retried` requests succeeded in the end; `failures` did not, and say why. `slow` says of requests that took more
    than SLOW_S when they began and what their attempts met."""

    requests: int = 0
    retried: int = 0
    longest_s: float = 0.0
    failures: list[str] = field(default_factory=list)
    slow: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.requests} requests, {self.retried} of them after retries, {len(self.failures)} failed, "
            f"the longest took {self.longest_s:.1f} s"
        )


def client(url: str, access_key: str, secret_key: str, ca_file: Path | None = None, attempts: int = ATTEMPTS) -> Any:
    """A boto3 client as users have it, but for the checksums that Riak CS does not know."""
    return boto3.session.Session().client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        verify=str(ca_file) if ca_file else None,
        config=Config(
            s3={"addressing_style": "path"},
            retries={"mode": "standard", "total_max_attempts": attempts},
            connect_timeout=3,
            read_timeout=20,
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )


class Traffic:
    """A context manager that writes, overwrites, reads and deletes; `counts` is whole when it has ended."""

    def __init__(self, lab: Lab, s3: Any, bucket: str, pause_s: float = 0.3) -> None:
        self.counts = Counts()
        self._lab, self._s3, self._bucket, self._pause_s = lab, s3, bucket, pause_s
        self._random = random.Random(bucket)
        self._wanted: dict[str, bytes] = {}
        self._met: list[str] = []
        """What the attempts of the present request came to, but for the last one that went well."""
        s3.meta.events.register_first("needs-retry.s3", self._attempt_ended)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)

    def __enter__(self) -> Self:
        with self._lab.network():
            self._s3.create_bucket(Bucket=self._bucket)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.set()
        self._thread.join(180)
        print(f"\nS3 client meanwhile: {self.counts}", *self.counts.failures[:12], *self.counts.slow[:12], sep="\n  ")
        if self._thread.is_alive():
            raise AssertionError("the S3 client still waits for an answer after 180 s")

    def wait_for(self, requests: int, timeout: float = 120) -> None:
        """Until so many more requests have been answered."""
        goal, end = self.counts.requests + requests, time.monotonic() + timeout
        while self.counts.requests < goal:
            if time.monotonic() > end:
                raise AssertionError(f"the S3 client does not get on: {self.counts} {self.counts.failures[-3:]}")
            time.sleep(0.1)

    def _run(self) -> None:
        with self._lab.network():
            while not self._ending.is_set():
                self._turn()
                self._ending.wait(self._pause_s)
            for key in list(self._wanted):
                self._read(key)

    def _turn(self) -> None:
        key = f"object-{self._random.randrange(KEPT)}"
        body = self._random.randbytes(self._random.choice(SIZES))
        if self._ask("put_object", key, Body=body) is None:
            self._wanted.pop(key, None)  # a failed write may have happened or not
        else:
            self._wanted[key] = body
        if self._wanted:
            self._read(self._random.choice(sorted(self._wanted)))
        if len(self._wanted) > KEPT // 2:
            gone = self._random.choice(sorted(self._wanted))
            if self._ask("delete_object", gone) is not None:
                del self._wanted[gone]

    def _read(self, key: str) -> None:
        """A body that breaks off is asked for again, as every download program does."""
        started = time.monotonic()
        for attempt in range(ATTEMPTS):
            answer = self._ask("get_object", key)
            if answer is None:
                return
            try:
                with answer["Body"] as stream:
                    body = stream.read()
            except (BotoCoreError, HTTPError, OSError):
                self.counts.retried += attempt == 0
                time.sleep(0.5)
                continue
            if body != self._wanted[key]:
                self.counts.failures.append(f"get_object {key}: {len(body)} bytes that were never written there")
            return
        self.counts.failures.append(
            f"get_object {key}: broke off {ATTEMPTS} times in {time.monotonic() - started:.0f} s"
        )

    def _ask(self, verb: str, key: str, **more: Any) -> Any:
        """The answer, or None when it failed after all retries."""
        started, clock = time.monotonic(), time.strftime("%T")
        self._met.clear()
        try:
            answer = getattr(self._s3, verb)(Bucket=self._bucket, Key=key, **more)
            self.counts.retried += answer["ResponseMetadata"]["RetryAttempts"] > 0
            return answer
        except (BotoCoreError, ClientError) as error:
            self.counts.failures.append(f"{clock} {verb} {key}: {error}; attempts: {', '.join(self._met)}")
            return None
        finally:
            self.counts.requests += 1
            took_s = time.monotonic() - started
            self.counts.longest_s = max(self.counts.longest_s, took_s)
            if took_s > SLOW_S:
                size = f" of {len(more['Body'])} bytes" if "Body" in more else ""
                met = ", ".join(self._met) or "the first attempt went well"
                self.counts.slow.append(f"{clock} {verb} {key}{size} took {took_s:.1f} s: {met}")

    def _attempt_ended(self, response: Any = None, caught_exception: Exception | None = None, **_: Any) -> None:
        """An event of botocore. It must return None: anything else would be a wait before the next attempt."""
        now = time.strftime("%T")
        if caught_exception is not None:
            self._met.append(f"{now} {type(caught_exception).__name__}")
        elif response is not None and response[0].status_code >= 400:
            code = response[1].get("Error", {}).get("Code", "")
            self._met.append(f"{now} {response[0].status_code} {code}".rstrip())
