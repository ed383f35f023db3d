"""`riak`: see release.py; `riak admin` is answered by the node itself."""

import os
import sys
import time
from pathlib import Path

from tests.hosts.standin.commands import logs, release
from tests.hosts.standin.config import cuttlefish, erlang_terms, kv_schema
from tests.hosts.standin.dist.link import NotReachable, RemoteError
from tests.hosts.standin.kv.admin_texts import ADMIN_USAGE, REPL_STATUS
from tests.hosts.standin.kv.backends import StartFailure
from tests.hosts.standin.kv.node import Tuning
from tests.hosts.standin.kv.service import KvService


def tuning() -> Tuning:
    """From /etc/default/riak, which the unit reads: STANDIN_TRANSFER_SECONDS, STANDIN_HANG_SECONDS."""
    return Tuning(
        transfer_seconds=float(os.environ.get("STANDIN_TRANSFER_SECONDS", "0.15")),
        hang_seconds=float(os.environ.get("STANDIN_HANG_SECONDS", "60")),
    )


def run(configuration: cuttlefish.Configuration, etc: Path) -> int:
    log = logs.open_console(configuration)
    try:
        service = KvService(configuration, etc, tuning())
        service.start()
    except (StartFailure, OSError, RuntimeError, erlang_terms.TermFailure) as error:
        log.critical("Failed to start application riak_kv: %s", error)
        print(f"Kernel pid terminated (application_controller) ({{application_start_failure,riak_kv,{error}}})")
        return 1
    release.until_signal(service.ended)
    log.info("the node stops")
    service.stop()
    return 0


RELEASE = release.Release(
    name="riak",
    user="riak",
    conf="riak.conf",
    settings=kv_schema.SETTINGS,
    subcommands="repl|debug",
    chkconfig_success=0,
    prefix=Path("/usr/lib/riak"),
    etc=Path("/etc/riak"),
    data=Path("/var/lib/riak"),
    run=run,
)


def admin(words: list[str]) -> int:
    if not words:
        sys.stdout.write(ADMIN_USAGE)
        return 1
    while True:
        try:
            text, code = release.call(RELEASE, "admin", {"words": words})
        except NotReachable:
            return release.not_responding(RELEASE)
        except RemoteError as error:
            text, code = f"{error}\nerror\n", 0
        sys.stdout.write(text)
        sys.stdout.flush()
        if words[0] == "top" or (words[0] == "wait-for-service" and " is not up: " in text):
            time.sleep(3 if words[0] != "top" else 5)
            continue
        return int(code)


def extra(words: list[str]) -> int:
    if not release.alive(RELEASE):
        return release.not_responding(RELEASE)
    if words == ["repl", "status"]:
        sys.stdout.write(REPL_STATUS.replace("riak@127.0.0.1", release.identity(RELEASE)[0]))
        return 0
    print("ok")
    return 0


if __name__ == "__main__":
    sys.exit(release.main(RELEASE, sys.argv[1:], admin, extra))
