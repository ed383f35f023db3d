"""The settings: one frozen tree, a strict loader, and the commented example that is generated from the same tree."""

import os

# Nothing but what is locked with Millrace judges its settings; looking through all that is installed for plugins of
# pydantic would take 2 ms of each start.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
