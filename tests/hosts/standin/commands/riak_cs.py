"""`riak-cs`: see release.py; `riak-cs admin` is answered by the node itself."""

import sys
from pathlib import Path

from tests.hosts.standin.commands import logs, release
from tests.hosts.standin.config import cs_schema, cuttlefish
from tests.hosts.standin.cs import admin_texts as texts
from tests.hosts.standin.cs.service import CsService
from tests.hosts.standin.dist.link import NotReachable, RemoteError
from tests.hosts.standin.kv.backends import StartFailure

_CRASHES = {
    "list-members": "List all bags failed:\n  error:{badmatch,undefined}\n"
    "  [{riak_cs_multibag,init,0,[]},\n   {riak_cs_multibag_console,'list-members',1,[]}]\nerror\n",
    "weight": "List all weights failed:\n  exit:{noproc,{gen_server,call,[riak_cs_multibag_server,status]}}\n"
    "  [{riak_cs_multibag_console,weight,1,[]}]\nerror\n",
    "refresh": "Refresh weight information failed:\n"
    "  exit:{noproc,{gen_server,call,[riak_cs_multibag_weight_updater,refresh]}}\n"
    "  [{riak_cs_multibag_console,refresh,1,[]}]\nerror\n",
}


def run(configuration: cuttlefish.Configuration, _: Path) -> int:
    log = logs.open_console(configuration)
    try:
        service = CsService(configuration)
        service.start()
    except (StartFailure, OSError, ValueError) as error:
        log.critical("Failed to start application riak_cs: %s", error)
        print(f"Kernel pid terminated (application_controller) ({{application_start_failure,riak_cs,{error}}})")
        return 1
    release.until_signal(service.ended)
    log.info("the node stops")
    service.stop()
    return 0


RELEASE = release.Release(
    name="riak-cs",
    user="riak_cs",
    conf="riak-cs.conf",
    settings=cs_schema.SETTINGS,
    subcommands="supercluster|debug",
    chkconfig_success=1,
    prefix=Path("/usr/lib/riak-cs"),
    etc=Path("/etc/riak-cs"),
    data=Path("/var/lib/riak-cs"),
    run=run,
)


def admin(words: list[str]) -> int:
    if not words:
        sys.stdout.write(texts.ADMIN_USAGE)
        return 1
    try:
        text, code = release.call(RELEASE, "admin", {"words": words})
    except NotReachable:
        return release.not_responding(RELEASE)
    except RemoteError as error:
        text, code = f"{error}\nerror\n", 0
    sys.stdout.write(text)
    return int(code)


def extra(words: list[str]) -> int:
    if words[0] == "supercluster":
        if len(words) < 2 or words[1] not in _CRASHES:
            sys.stdout.write(texts.SUPERCLUSTER_USAGE)
            return 1
        if not release.alive(RELEASE):
            return release.not_responding(RELEASE)
        sys.stdout.write(_CRASHES[words[1]])
        return 0
    print("ok")
    return 0


if __name__ == "__main__":
    sys.exit(release.main(RELEASE, sys.argv[1:], admin, extra))
