"""The data path over HTTP: blobs by GUID."""
