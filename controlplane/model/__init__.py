"""Values and pure decisions. Nothing here does I/O, reads a clock or logs."""
