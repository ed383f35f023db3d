"""Administration of a bucket by boto3: odd calls at low rates. It is imported late: that takes 0.8 s of CPU."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from controlplane.adapters.s3.options import S3Options
from controlplane.ports.errors import Conflict, NotFound, Rejected, Unavailable

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client

T = TypeVar("T")

_NOT_SET = frozenset({"NoSuchLifecycleConfiguration", "NotImplemented", "MethodNotAllowed"})


@dataclass(frozen=True, slots=True)
class BucketFacts:
    """What doctor tells of a bucket."""

    versioning: str
    """Enabled, Suspended or Off. With versioning a delete keeps the bytes."""
    aborts_incomplete_uploads_after_days: int | None
    """The lifecycle rule that removes the parts that a crash left behind; None: there is none."""

    def advice(self) -> tuple[str, ...]:
        lines: list[str] = []
        if self.aborts_incomplete_uploads_after_days is None:
            lines.append(
                "no lifecycle rule aborts incomplete multipart uploads: parts that a crash leaves behind stay and are "
                "paid for; add a rule with AbortIncompleteMultipartUpload (7 days)"
            )
        if self.versioning == "Enabled":
            lines.append("versioning is enabled: deleted blobs keep their space until a rule expires old versions")
        return tuple(lines)


class S3BucketAdmin:
    """Every call opens a client of its own, in a thread, and raises Unavailable, Rejected, Conflict or NotFound."""

    def __init__(self, options: S3Options) -> None:
        self._options = options

    async def bucket_exists(self) -> bool:
        """Raises Rejected when it exists and belongs to somebody else (403)."""
        return await self._call("HeadBucket", self._bucket_exists)

    async def ensure_bucket(self) -> bool:
        """Create the bucket unless it is there; whether it was created. Raises Conflict when another account owns it.

        An existing bucket is not created again: Riak CS would reset its ACL."""
        return await self._call("CreateBucket", self._ensure_bucket)

    async def facts(self) -> BucketFacts:
        """Raises NotFound when there is no such bucket."""
        return await self._call("GetBucketVersioning and GetBucketLifecycleConfiguration", self._facts)

    def _client(self, endpoint: str) -> S3Client:
        import boto3
        from botocore import UNSIGNED
        from botocore.config import Config

        options = self._options
        version = "s3v4" if options.signature == "v4" else "s3"
        client = boto3.session.Session().client(
            "s3",
            endpoint_url=endpoint,
            region_name=options.region,
            aws_access_key_id=options.access_key or None,
            aws_secret_access_key=options.secret_key or None,
            verify=str(options.ca_file) if options.ca_file else None,
            config=Config(
                signature_version=version if options.access_key else UNSIGNED,
                s3={"addressing_style": "path"},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                connect_timeout=options.connect_timeout_s,
                read_timeout=options.read_timeout_s,
                retries={"total_max_attempts": options.attempts, "mode": "standard"},
                proxies={},
            ),
        )
        if options.signature == "v2":
            client.meta.events.register("before-sign.s3", _sign_path_as_sent)
        return client

    async def _call(self, what: str, function: Callable[[S3Client], T]) -> T:
        return await asyncio.to_thread(self._on_any_endpoint, what, function)

    def _on_any_endpoint(self, what: str, function: Callable[[S3Client], T]) -> T:
        """The first endpoint that can be reached answers."""
        from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
        from botocore.exceptions import ConnectionError as NotConnected

        unreachable: BotoCoreError | None = None
        for endpoint in self._options.endpoints:
            where = f"{what} {self._options.bucket} at {endpoint}"
            client = self._client(endpoint)
            try:
                return function(client)
            except (HTTPClientError, NotConnected) as error:
                unreachable = error
            except ClientError as error:
                raise self._translate(where, error) from error
            except BotoCoreError as error:
                raise Unavailable(f"{where}: {error}; is this an S3 server?") from error
            finally:
                client.close()
        where = f"{what} {self._options.bucket} at {', '.join(self._options.endpoints)}"
        raise Unavailable(f"{where}: {unreachable}; check that the server is up and reachable") from unreachable

    def _translate(self, where: str, error: Exception) -> Exception:
        status, code = _status_and_code(error)
        bucket = self._options.bucket
        if code in ("BucketAlreadyExists", "OperationAborted"):
            return Conflict(f"{where}: the name {bucket} is taken by another account ({code}): choose another bucket")
        if code == "NoSuchBucket" or (status == 404 and code in ("404", "NotFound")):
            return NotFound(f"{where}: the bucket does not exist: create it or set create_bucket")
        if status == 429 or status >= 500 or code in ("SlowDown", "RequestTimeout"):
            return Unavailable(f"{where}: {error}")
        if status == 403:
            return Rejected(f"{where}: {error}; check access_key, secret_key, region and who owns the bucket")
        return Rejected(f"{where}: {error}")

    def _bucket_exists(self, client: S3Client) -> bool:
        from botocore.exceptions import ClientError

        try:
            client.head_bucket(Bucket=self._options.bucket)
        except ClientError as error:
            if _status_and_code(error)[0] == 404:
                return False
            raise
        return True

    def _ensure_bucket(self, client: S3Client) -> bool:
        from botocore.exceptions import ClientError

        if self._bucket_exists(client):
            return False
        try:
            if self._options.region == "us-east-1":
                client.create_bucket(Bucket=self._options.bucket)
            else:
                # The one region that must not be named is us-east-1.
                client.create_bucket(
                    Bucket=self._options.bucket,
                    CreateBucketConfiguration={"LocationConstraint": self._options.region},  # type: ignore[typeddict-item]
                )
        except ClientError as error:
            if _status_and_code(error)[1] == "BucketAlreadyOwnedByYou":
                return False
            raise
        return True

    def _facts(self, client: S3Client) -> BucketFacts:
        from botocore.exceptions import ClientError

        versioning = client.get_bucket_versioning(Bucket=self._options.bucket).get("Status", "Off")
        try:
            rules = client.get_bucket_lifecycle_configuration(Bucket=self._options.bucket).get("Rules", [])
        except ClientError as error:
            if _status_and_code(error)[1] not in _NOT_SET:
                raise
            rules = []
        days = [
            rule["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"]
            for rule in rules
            if rule.get("Status") == "Enabled" and "AbortIncompleteMultipartUpload" in rule
        ]
        return BucketFacts(str(versioning), min(days, default=None))


def _status_and_code(error: Exception) -> tuple[int, str]:
    response = getattr(error, "response", {})
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    return status, str(response.get("Error", {}).get("Code", ""))


def _sign_path_as_sent(request: Any, **_: Any) -> None:
    """botocore sends /bucket and signs /bucket/ under version 2. AWS forgives that; Riak CS signs what it got."""
    request.auth_path = None
