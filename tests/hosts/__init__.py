"""Tests on real systemd hosts, and the stand-ins for Riak KV and Riak CS that run on them."""
