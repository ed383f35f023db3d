"""What a bucket says of itself, asked by boto3: odd calls, rare, and told in the words of the service's own library.

For a command that ends soon: boto3 and one client take 33 MB of a process for good (adapters/s3/bucket_creation.py),
and 0.5 s of CPU to load. Nothing that serves imports this module.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import boto3
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as NotConnected

from controlplane.model.bucket_facts import BucketFacts, LifecycleRule
from controlplane.ports.errors import NotFound, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from types_boto3_s3.client import S3Client

    from controlplane.adapters.s3.options import S3Options

T = TypeVar("T")

_NO_RULES = "NoSuchLifecycleConfiguration"
_NOT_HERE = frozenset({"NotImplemented", "MethodNotAllowed", "501", "405"})
"""Codes of stores that do not have what is asked for: Riak CS has no lifecycle (`sub-get-lifecycle`: 501)."""
_ARCHIVES = frozenset({"GLACIER", "DEEP_ARCHIVE"})


def bucket_facts(options: S3Options) -> BucketFacts:
    """Blocks. The first endpoint that can be reached answers. Raises NotFound when there is no such bucket, Unavailable
    when none answers; what may not be asked is told among the facts."""
    unreachable: Exception | None = None
    for endpoint in options.endpoints:
        client = _client(endpoint, options)
        try:
            return _facts(client, options.bucket)
        except (HTTPClientError, NotConnected) as error:
            unreachable = error
        except BotoCoreError as error:
            raise Unavailable(f"{endpoint}: {error}; is this an S3 server?") from error
        finally:
            client.close()
    raise Unavailable(f"{unreachable}; check that the server is up and reachable") from unreachable


def _client(endpoint: str, options: S3Options) -> S3Client:
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
            connect_timeout=options.connect_timeout_s,
            read_timeout=options.read_timeout_s,
            retries={"total_max_attempts": options.attempts, "mode": "standard"},
            proxies={},
        ),
    )
    if options.signature == "v2":
        client.meta.events.register("before-sign.s3", _sign_path_as_sent)
    return client


def _sign_path_as_sent(request: Any, **_: Any) -> None:
    """botocore sends /bucket and signs /bucket/ under version 2. AWS forgives that; Riak CS signs what it got."""
    request.auth_path = None


def _facts(client: S3Client, bucket: str) -> BucketFacts:
    unsaid: list[str] = []

    def ask(what: str, permission: str, question: Callable[[], T], otherwise: T) -> T:
        try:
            return question()
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
            if code == "NoSuchBucket":
                raise NotFound(f"there is no bucket {bucket}") from error
            if status in (401, 403):
                unsaid.append(f"{what} (HTTP {status} {code}: it needs s3:{permission})")
            elif code not in _NOT_HERE and status not in (405, 501):
                raise Unavailable(f"{what}: {error}") from error
            return otherwise

    def rules() -> tuple[LifecycleRule, ...]:
        try:
            answer = client.get_bucket_lifecycle_configuration(Bucket=bucket)
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") == _NO_RULES:
                return ()
            raise
        return tuple(_rule(rule) for rule in answer.get("Rules", ()) if rule.get("Status") == "Enabled")

    versioning = ask(
        "versioning",
        "GetBucketVersioning",
        lambda: str(client.get_bucket_versioning(Bucket=bucket).get("Status", "Off")),
        "",
    )
    return BucketFacts(versioning, ask("lifecycle", "GetLifecycleConfiguration", rules, None), tuple(unsaid))


def _rule(rule: Mapping[str, Any]) -> LifecycleRule:
    """As boto3 gives it: the prefix is the rule's own (the older form), its filter's, or within `And`."""
    condition = rule.get("Filter") or {}
    both = condition.get("And") or {}
    prefix = rule.get("Prefix") or condition.get("Prefix") or both.get("Prefix") or ""
    archives = [
        f"to {each['StorageClass']} {_when(each)}"
        for each in rule.get("Transitions", ())
        if each.get("StorageClass") in _ARCHIVES
    ]
    return LifecycleRule(
        name=str(rule.get("ID") or "without a name"),
        prefix=str(prefix),
        only_some=any(name != "Prefix" for name in (*both, *(name for name in condition if name != "And"))),
        expires=_when(rule.get("Expiration") or {}),
        archives=", ".join(archives),
        aborts_uploads_after_days=(rule.get("AbortIncompleteMultipartUpload") or {}).get("DaysAfterInitiation"),
    )


def _when(moment: Mapping[str, Any]) -> str:
    """Empty for an Expiration that only clears delete markers."""
    if "Days" in moment:
        return f"after {moment['Days']} days"
    return f"on {moment['Date']:%Y-%m-%d}" if "Date" in moment else ""
