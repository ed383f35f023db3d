"""Fast tests of the kit: no hosts, no sockets. The host tests (tests/hosts) run it for real."""
