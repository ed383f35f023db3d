"""Azure Blob Storage by Microsoft's own library (extra millrace[azure])."""

from controlplane.adapters.azure.options import AzureOptions
from controlplane.adapters.azure.store import AzureBlobStore

__all__ = ["AzureBlobStore", "AzureOptions"]
