"""One module a technology, each behind a port. Adapters do not know each other, nor the services."""
