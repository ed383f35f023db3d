"""What the agent's process loads: its start is CPU and memory that every node pays for."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("aiohttp", "awscrt", "boto3", "botocore", "prometheus_client", "requests", "azure", "google.cloud", "riak")


def test_an_agent_without_etcd_and_riak_kv_loads_nothing_heavy() -> None:
    """Each of these takes as long to load as some hundreds of copies; it is loaded by what needs it."""
    script = (
        "import sys\n"
        "from controlplane.wiring import processes, agent_process, lifecycle, mirror_part, s3_mirror, scan\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert ran.stdout.strip() == "[]"
