"""ObjectStore over a directory of files: the embedded primary, and a persistent store on a mounted disk."""

from controlplane.adapters.filesystem.store import FilesystemStore

__all__ = ["FilesystemStore"]
