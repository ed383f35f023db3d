"""What stands for AWS S3 in the lab: a SeaweedFS server on this machine's address in the hosts' network."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.hosts.lab import GATE, Lab
from tests.support.s3_servers import wait_until_it_answers

PORT = 8333
ACCESS_KEY, SECRET_KEY = "test-access-key", "not-a-real-secret-key"
"""As inventories/lab has them."""
_IDENTITIES = (
    '{"identities": [{"name": "mirror", "actions": ["Admin", "Read", "Write", "List", "Tagging"], '
    f'"credentials": [{{"accessKey": "{ACCESS_KEY}", "secretKey": "{SECRET_KEY}"}}]}}]}}'
)

# SeaweedFS's servers find each other by /tmp/seaweedfs-*-<port>.sock, which namespaces of the network do not part: the
# volumes of two labs on one machine would go to one of them. Opened and named before /tmp is hidden: all may lie there.
_WITH_ITS_OWN_TMP = 'exec 9<"$0" && mount --bind tmp /tmp && exec /proc/self/fd/9 "$@"'


@contextlib.contextmanager
def persistent_store(lab: Lab, folder: Path) -> Iterator[str]:
    """Its URL; empty at first. It has a network of its own, so the default ports are free."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    identities = folder / "s3.json"
    identities.write_text(_IDENTITIES)
    (folder / "tmp").mkdir()
    command = [
        "unshare", "--mount", "sh", "-c", _WITH_ITS_OWN_TMP, str(Path(sys.executable).with_name("weed")),
        "server", "-dir=.", f"-ip={GATE}", f"-ip.bind={GATE}", "-filer", "-s3",
        "-master.volumeSizeLimitMB=64", "-volume.max=200", f"-s3.port={PORT}", f"-s3.config={identities.name}",
        "-s3.port.iceberg=0", "-s3.port.lance=0",
    ]  # fmt: skip
    log = folder / "log"
    with log.open("wb") as out, lab.network():
        running = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            cwd=folder,
            start_new_session=True,
            env={**os.environ, "HOME": str(folder)},
        )
    try:
        with lab.network():
            wait_until_it_answers(PORT, running, log, "/status", GATE)
        with lab.ends_with_us(running.pid):
            yield f"http://{GATE}:{PORT}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
        running.wait()
