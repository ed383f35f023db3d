"""Millrace's control plane: blobs by content GUID, mirrored to S3, found through etcd."""
