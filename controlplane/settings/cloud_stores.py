"""The clouds' own object stores, each by its vendor's library, an extra of the package."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from controlplane.settings.secret import Secret, SecretDocument
from controlplane.settings.section import BaseUrl, Bytes, ReadableFile, Seconds, Section, Url

KIB, MIB, GIB = 1024, 1024**2, 1024**3


class AzureStore(Section):
    """A container of Azure Blob Storage (the extra millrace[azure])."""

    kind: Literal["azure"] = "azure"
    endpoint: Url = Field(
        ...,
        description="the account's blob service; the account may be its path",
        examples=["https://mystorage.blob.core.windows.net"],
    )
    bucket: str = Field(
        ...,
        min_length=3,
        max_length=63,
        description="the container: lower-case letters, digits and single hyphens; must exist, unless create_bucket is "
        "true",
        examples=["millrace"],
    )
    prefix: str = Field("", description="put before every key")
    account: str = Field(
        "", description="the account whose key secret_key is; empty: secret_key is a shared access signature (SAS)"
    )
    secret_key: Secret | None = Field(
        None,
        description='{ file = "…" } or { env = "…" }: a key of the account, or a SAS token for the container that lets '
        "read, write, delete and list; none: unsigned requests",
        examples=[{"env": "AZURE_SECRET"}],
    )
    create_bucket: bool = Field(False, description="create the container at start when it is missing")
    ca_file: ReadableFile | None = Field(
        None,
        description="PEM file of the certificate authority; empty: the system's",
        examples=["/etc/millrace/azure-ca.pem"],
    )
    connections: int = Field(32, ge=1, le=1024, description="most connections")
    connect_timeout_s: Seconds = Field(3, description="to open a connection")
    read_timeout_s: Seconds = Field(30, description="the longest pause of the service within a request")
    attempts: int = Field(4, ge=1, le=20, description="tries of a request that may safely be sent again")
    part_bytes: Bytes = Field(
        8 * MIB, ge=MIB, le=4000 * MIB, description="bodies larger than this go up in blocks of this size"
    )
    part_concurrency: int = Field(2, ge=1, le=16, description="blocks under way at once for one object")


class GcsStore(Section):
    """A bucket of Google Cloud Storage (the extra millrace[gcs])."""

    kind: Literal["gcs"] = "gcs"
    endpoint: BaseUrl = Field("https://storage.googleapis.com", description="base URL of the service")
    bucket: str = Field(
        ..., min_length=3, max_length=222, description="must exist, unless create_bucket is true", examples=["millrace"]
    )
    prefix: str = Field("", description="put before every key")
    credentials: SecretDocument | None = Field(
        None,
        description='{ file = "…" } or { env = "…" }: the JSON key of a service account that may read, write, list and '
        "delete objects; none: unsigned requests",
        examples=[{"env": "GCS_CREDENTIALS"}],
    )
    create_bucket: bool = Field(False, description="create the bucket at start when it is missing, in project")
    project: str = Field("", description="owner of a bucket that is created")
    location: str = Field("", description="where a bucket is created; empty: where the service does by itself")
    ca_file: ReadableFile | None = Field(
        None,
        description="PEM file of the certificate authority; empty: the library's own",
        examples=["/etc/millrace/gcs-ca.pem"],
    )
    connections: int = Field(
        16, ge=1, le=128, description="most requests under way, and most uploads of large objects; each takes a thread"
    )
    connect_timeout_s: Seconds = Field(3, description="to open a connection")
    read_timeout_s: Seconds = Field(30, description="the longest pause of the service within a request")
    attempts: int = Field(4, ge=1, le=20, description="tries of a request that may safely be sent again")
    part_bytes: Bytes = Field(
        8 * MIB,
        ge=256 * KIB,
        le=GIB,
        multiple_of=256 * KIB,
        description="bodies larger than this go up in pieces of this size; a multiple of 256 KiB",
    )
