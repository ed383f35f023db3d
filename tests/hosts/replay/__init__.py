"""Replays the recordings of a real Riak against the loopback stand-in."""
