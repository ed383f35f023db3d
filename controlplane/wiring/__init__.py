"""The one place that builds adapters from settings and processes from services."""
