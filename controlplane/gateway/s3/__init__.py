"""The S3 front: HTTP in, the operation found, the caller proved and allowed, the answer in S3's terms."""
