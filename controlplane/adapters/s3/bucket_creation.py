"""The bucket of a store, made by the store's own client.

Not by boto3, which would be the library for it: it and one client of it take 33 MB of a process for good, and its
models of the service, 12 MB more with every client, are cycles that wait for the collector.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from hashlib import sha256
from typing import Final

from controlplane.adapters.s3.client import Answer, Request, S3Client
from controlplane.adapters.s3.failures import error_of
from controlplane.adapters.s3.options import S3Options
from controlplane.ports.errors import Conflict, NotFound, Rejected
from controlplane.s3.xml_text import document, element

_WITHOUT_A_NAME: Final = "us-east-1"
"""The one region that must not be named."""


async def create_bucket(client: S3Client, options: S3Options, check: Callable[[], Awaitable[None]]) -> bool:
    """Whether it was missing, and made. One that is there is not made again: Riak CS would reset its ACL.

    `check`: lists it, and raises NotFound when it is missing. Raises Conflict when its name is taken by others.
    """
    try:
        await check()
    except NotFound:
        pass
    else:
        return False
    region = options.region
    body = b""
    if region != _WITHOUT_A_NAME:
        body = document("CreateBucketConfiguration", element("LocationConstraint", region))
    request = Request("PUT", body=body, length=len(body), payload_sha256=sha256(body).hexdigest())
    outcome = await client.try_to_send(request)
    if isinstance(outcome, Answer):
        outcome.close()
        return True
    if outcome.code == "BucketAlreadyOwnedByYou":
        return False
    what = f"creating it: {client.describe(request)}"
    if not isinstance(error_of(outcome, what), Conflict):
        raise error_of(outcome, what)
    try:
        await check()  # some say so of a bucket that is ours, and that another node has made meanwhile
    except (NotFound, Rejected) as error:
        taken = f"the name {options.bucket} is taken by another account: choose another bucket"
        raise Conflict(f"{error_of(outcome, what)}; {taken}") from error
    return False
