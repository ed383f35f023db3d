"""The documents of S3's operations: requests read strictly, answers written in S3's forms."""
