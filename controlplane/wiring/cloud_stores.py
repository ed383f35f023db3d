"""Stores in Azure and Google Cloud Storage from their settings. Their libraries are extras, loaded where needed."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from controlplane.adapters.s3.buckets import BUCKET
from controlplane.model.keys import StoreName
from controlplane.ports.bucket_stores import BucketStores
from controlplane.ports.errors import Rejected, Unavailable
from controlplane.settings.cloud_stores import AzureStore, GcsStore

if TYPE_CHECKING:
    from controlplane.adapters.azure import AzureOptions
    from controlplane.adapters.gcs import GcsOptions
    from controlplane.adapters.templated_buckets import CloudStore

log = logging.getLogger(__name__)

_CONTAINER_NAMES: Final = r"(?=.{3,63}\Z)[a-z0-9](?:-?[a-z0-9])*"
_BUCKET_NAMES: Final = r"(?=.{3,222}\Z)[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?"


async def build_cloud_store(name: StoreName, store: AzureStore | GcsStore) -> CloudStore:
    """Raises Rejected when its library is not installed."""
    built: CloudStore
    if isinstance(store, AzureStore):
        options = azure_options(store)
        from controlplane.adapters.azure import AzureBlobStore

        built = AzureBlobStore(name, options)
    else:
        gcs = gcs_options(store)
        from controlplane.adapters.gcs import GcsStore as GcsObjectStore

        built = GcsObjectStore(name, gcs)
    if store.create_bucket:
        try:
            await built.create_bucket()
        except Unavailable as error:
            # It starts and serves without (I10); readiness says so, and the next start creates the bucket.
            log.warning("bucket %s could not be looked for: %s", store.bucket, error)
    return built


def build_cloud_buckets(name: StoreName, store: AzureStore | GcsStore) -> BucketStores:
    """All buckets of a rule's target. Raises Rejected when its library is not installed."""
    from controlplane.adapters.templated_buckets import TemplatedBuckets

    prefix = store.prefix if BUCKET in store.bucket + store.prefix else f"{store.prefix}{BUCKET}/"
    if isinstance(store, AzureStore):
        options = azure_options(store)
        from controlplane.adapters.azure import AzureBlobStore
        from controlplane.adapters.azure.client import AzureClient

        client = AzureClient(options)
        return TemplatedBuckets(
            name,
            store.bucket,
            prefix,
            _CONTAINER_NAMES,
            lambda place, before: AzureBlobStore(name, replace(options, container=place, prefix=before), client),
            client.aclose,
            create=store.create_bucket,
        )
    gcs = gcs_options(store)
    from controlplane.adapters.gcs import GcsStore as GcsObjectStore
    from controlplane.adapters.gcs.client import GcsClient

    google = GcsClient(gcs)
    return TemplatedBuckets(
        name,
        store.bucket,
        prefix,
        _BUCKET_NAMES,
        lambda place, before: GcsObjectStore(name, replace(gcs, bucket=place, prefix=before), google),
        google.aclose,
        create=store.create_bucket,
    )


def azure_options(store: AzureStore) -> AzureOptions:
    try:
        from controlplane.adapters.azure import AzureOptions
    except ImportError as error:
        raise _missing("azure", "azure-storage-blob", error) from error
    secret = store.secret_key.reveal() if store.secret_key is not None else ""
    return AzureOptions(
        endpoint=store.endpoint,
        container=store.bucket,
        prefix=store.prefix,
        account=store.account,
        account_key=secret if store.account else "",
        sas_token="" if store.account else secret,
        ca_file=store.ca_file,
        connections=store.connections,
        connect_timeout_s=store.connect_timeout_s,
        read_timeout_s=store.read_timeout_s,
        attempts=store.attempts,
        part_bytes=store.part_bytes,
        part_concurrency=store.part_concurrency,
    )


def gcs_options(store: GcsStore) -> GcsOptions:
    try:
        from controlplane.adapters.gcs import GcsOptions
    except ImportError as error:
        raise _missing("gcs", "google-cloud-storage", error) from error
    return GcsOptions(
        endpoint=store.endpoint,
        bucket=store.bucket,
        prefix=store.prefix,
        credentials=store.credentials.reveal() if store.credentials is not None else "",
        project=store.project,
        location=store.location,
        ca_file=store.ca_file,
        connections=store.connections,
        connect_timeout_s=store.connect_timeout_s,
        read_timeout_s=store.read_timeout_s,
        attempts=store.attempts,
        part_bytes=store.part_bytes,
    )


def _missing(kind: str, library: str, error: ImportError) -> Rejected:
    return Rejected(f"a store of kind {kind} needs the library {library} ({error}): pip install 'millrace[{kind}]'")
