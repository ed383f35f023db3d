"""The S3 wire protocol without I/O: signatures, listings, error documents, multipart documents, ETags."""
