"""The settings: one frozen tree, a strict loader, and the commented example that is generated from the same tree."""
