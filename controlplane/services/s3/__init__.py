"""What the S3 front knows and coordinates: who asks, what a bucket allows, who writes a key."""
