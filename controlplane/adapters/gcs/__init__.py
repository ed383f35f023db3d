"""Google Cloud Storage by Google's own library (extra millrace[gcs])."""

from controlplane.adapters.gcs.options import GcsOptions
from controlplane.adapters.gcs.store import GcsStore

__all__ = ["GcsOptions", "GcsStore"]
