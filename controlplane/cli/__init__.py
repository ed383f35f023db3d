"""The command `millrace`. Heavy libraries are imported by the commands that need them, so that --help costs little."""
