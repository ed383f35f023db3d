"""Real S3 clients and one scenario that each of them runs: `make clients` prints which operations work where."""
