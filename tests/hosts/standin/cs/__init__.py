"""Riak CS: S3 on 8080, the admin API on 8000, Stanchion on 8085, all stored through a KV node's port 8087."""
