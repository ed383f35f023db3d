"""boto3 as a user of a gateway, or of a store behind it, has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client


def s3_client(url: str, key: str, secret: str, **config: Any) -> S3Client:
    """Buckets are in the path. `config`: as botocore's Config takes it."""
    return boto3.client(
        "s3",
        endpoint_url=url,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}, **config),
    )
