"""Configuration files: the cuttlefish format, its schemas, its escript, and Erlang terms."""
