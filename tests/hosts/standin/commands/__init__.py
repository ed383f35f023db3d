"""The commands that the packages install: `riak`, `riak admin`, `riak-cs`, `riak-cs admin`, chkconfig and the like."""
