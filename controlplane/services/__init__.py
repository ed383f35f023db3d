"""Use cases. Each loop is a once(); decisions are in model, effects go through ports."""
