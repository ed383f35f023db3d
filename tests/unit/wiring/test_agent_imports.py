"""What the agent's process loads: its start is CPU and memory that every node pays for."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

HEAVY = ("aiohttp", "awscrt", "boto3", "botocore", "prometheus_client", "requests", "azure", "google.cloud", "riak")

OTHERS = (
    "adapters.disk_cache",
    "adapters.memory.hot_cache",
    "ports.hot_cache",
    "adapters.riak_cs",
    "gateway",
    "services.s3.lifecycle",
)
"""Rooms of the gateway, and of duties that an agent may never have."""

START = ("processes", "agent_process", "lifecycle", "mirror_part", "s3_mirror")
DUTIES = ("lifecycle_sweeps", "scan")


def test_an_agent_without_etcd_and_riak_kv_loads_nothing_heavy() -> None:
    """Each of these takes as long to load as some hundreds of copies; it is loaded by what needs it."""
    assert loaded(START + DUTIES, HEAVY) == "[]"


def test_an_agent_starts_without_what_only_gateways_and_duties_need() -> None:
    assert loaded(START, [f"controlplane.{name}" for name in OTHERS]) == "[]"


def loaded(parts: Iterable[str], names: Sequence[str]) -> str:
    """Which of the `names` a new interpreter knows that has imported these modules of the composition root."""
    script = (
        "import sys\n"
        f"from controlplane.wiring import {', '.join(parts)}\n"
        f"print([name for name in {names!r} if name in sys.modules])"
    )
    return subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout.strip()


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
