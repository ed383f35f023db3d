"""Riak KV: objects, backends, the ring and its members, the HTTP interface."""
