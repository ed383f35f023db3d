"""ObjectStore over the S3 protocol: AWS S3, Riak CS, SeaweedFS, Ceph."""

from controlplane.adapters.s3.buckets import S3Buckets, S3ServerCopies
from controlplane.adapters.s3.options import S3Options
from controlplane.adapters.s3.server_copy import is_one_service
from controlplane.adapters.s3.store import S3ObjectStore

__all__ = ["S3Buckets", "S3ObjectStore", "S3Options", "S3ServerCopies", "is_one_service"]
