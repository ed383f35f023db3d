"""Speed and memory beside nginx, hashlib and rclone; run by `make bench`."""
