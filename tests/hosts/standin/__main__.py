"""Runs both stand-ins on loopback until it is interrupted: python -m tests.hosts.standin [--cs-port 8080 ...]."""

import argparse
import signal
import tempfile
import threading
from pathlib import Path

from tests.hosts.standin.loopback import Ports, Standin


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.hosts.standin", description=__doc__)
    for name, port in (("kv", 8098), ("pb", 8087), ("cs", 8080), ("admin", 8000), ("stanchion", 8085)):
        parser.add_argument(f"--{name}-port", type=int, default=port)
    parser.add_argument("--folder", type=Path, help="where data is kept; a scratch folder when not given")
    parser.add_argument("--replicas", type=int, default=1, help="copies on this one disk (real nodes keep 3)")
    options = parser.parse_args()
    ports = Ports(options.kv_port, options.pb_port, options.cs_port, options.admin_port, options.stanchion_port)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with (
        tempfile.TemporaryDirectory() as scratch,
        Standin(options.folder or Path(scratch), ports, replicas=options.replicas) as standin,
    ):
        print(f"KV    {standin.kv_url}\nS3    {standin.s3_url}\nadmin {standin.admin_url}")
        print(f"key   {standin.admin.key_id}\nsecret {standin.admin.key_secret}", flush=True)
        stop.wait()


if __name__ == "__main__":
    main()
