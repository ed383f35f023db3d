"""Clients, faults and a checker that knows nothing of the engine: what was acknowledged must be so in the end."""
