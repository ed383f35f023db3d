"""What the agent's process loads: its start is CPU and memory that every node pays for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

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


def test_the_collector_does_not_walk_through_what_an_agent_loaded(tmp_path: Path) -> None:
    """There are 200,000 objects by then: one round over them takes as long as loading half of them did."""
    config = tmp_path / "millrace.toml"
    config.write_text(
        f'[node]\ncluster = "c"\ndata_dir = "{tmp_path}/data"\n[primary]\nkind = "memory"\n'
        f'[persistent]\nkind = "filesystem"\npath = "{tmp_path}/persistent"\n'
    )
    script = (
        "import gc\n"
        "from controlplane.cli import main\n"
        "from controlplane.wiring import processes\n"
        "def look(settings):\n"
        "    print(gc.isenabled(), len(gc.get_objects()))\n"  # of all generations but the frozen one
        "    return 0\n"
        "processes.run_agent = look\n"
        f"main.main(['agent', '--config', {str(config)!r}])"
    )
    ran = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    enabled, walked = ran.stdout.split()
    assert enabled == "True"
    assert int(walked) < 1000
