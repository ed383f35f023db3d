"""Builds the Debian packages."""
