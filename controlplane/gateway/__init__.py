"""The data path over HTTP: blobs by GUID, the S3 front (s3), and what gateways show each other (peer_api)."""
