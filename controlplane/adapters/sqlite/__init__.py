"""Journal and catalog in SQLite files: a writer thread each, group commit, readers that never wait."""
