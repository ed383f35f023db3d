"""The release script that `riak` and `riak-cs` share: foreground, start, stop, ping, chkconfig ..."""

import grp
import os
import pwd
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.hosts.standin.config import cuttlefish, erlang_terms
from tests.hosts.standin.config.schema import Setting
from tests.hosts.standin.dist import epmd
from tests.hosts.standin.dist.link import NotReachable, Peers

START_SECONDS = 30.0
_USAGE = """\
Usage: {name} [COMMAND] [ARGS]

Commands:

  foreground              Start release with output to stdout
  remote_console          Connect remote shell to running node
  rpc [Mod [Fun [Args]]]] Run apply(Mod, Fun, Args) on running node
  eval [Exprs]            Run expressions on running node
  stop                    Stop the running node
  restart                 Restart the applications but not the VM
  reboot                  Reboot the entire VM
  pid                     Print the PID of the OS process
  ping                    Print pong if the node is alive
  console                 Start the release with an interactive shell
  console_clean           Start an interactive shell without the release's applications
  console_boot [File]     Start an interactive shell for boot script [File]
  daemon                  Start release in the background with run_erl (named pipes)
  daemon_boot [File]      Start boot script [File] in the background with run_erl (named pipes)
  daemon_attach           Connect to node started as daemon with to_erl (named pipes)
  upgrade [Version]       Upgrade the running release to a new version
  downgrade [Version]     Downgrade the running release to a new version
  install [Version]       Install a release
  uninstall [Version]     Uninstall a release
  unpack [Version]        Unpack a release tarball
  versions                Print versions of the release available
  escript                 Run an escript in the same environment as the release
  status                  Verify node is running and then run status hook scripts
  admin|{subcommands}|chkconfig
"""


@dataclass(frozen=True)
class Release:
    """Where things are and what differs between the two."""

    name: str
    user: str
    conf: str
    settings: tuple[Setting, ...]
    subcommands: str
    chkconfig_success: int
    prefix: Path
    etc: Path
    data: Path
    run: Callable[[cuttlefish.Configuration, Path], int]

    @property
    def usage(self) -> str:
        return _USAGE.format(name=self.name, subcommands=self.subcommands)

    @property
    def generated(self) -> Path:
        return self.data / "generated.conf"

    @property
    def version(self) -> str:
        return (self.prefix / "releases" / "start_erl.data").read_text().split()[1]


def become(user: str) -> None:
    """What the wrapper does with sudo when root calls it."""
    if os.geteuid() != 0:
        return
    entry = pwd.getpwnam(user)
    os.setgroups([g.gr_gid for g in grp.getgrall() if user in g.gr_mem] + [entry.pw_gid])
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)
    os.environ.update(HOME=entry.pw_dir, USER=user, LOGNAME=user)


def generate(release: Release) -> tuple[cuttlefish.Configuration, Path, Path]:
    """Raises cuttlefish.Refused; the reason is not shown, as by the real script."""
    configuration = cuttlefish.load(release.etc / release.conf, release.settings, lambda _: None)
    app, args = cuttlefish.generate(configuration, release.etc / "advanced.config", release.generated)
    return configuration, app, args


def identity(release: Release) -> tuple[str, str]:
    """Node name and cookie from the newest generated file, which need not be what the node was started with."""
    newest = sorted(release.generated.glob("vm.*.args"))
    if newest:
        words = newest[-1].read_text().split()
        return words[1], words[3]
    try:
        values = cuttlefish.load(release.etc / release.conf, release.settings, lambda _: None).values
    except (cuttlefish.Refused, OSError):
        return f"{release.name}@127.0.0.1", "riak"
    return values["nodename"], values["distributed_cookie"]


def call(release: Release, op: str, args: dict[str, Any] | None = None, timeout: float = 70.0) -> Any:
    """Asks the running node. Raises NotReachable."""
    node, cookie = identity(release)
    peers = Peers(cookie, epmd.locate)
    try:
        return peers.call(node, op, args, timeout=timeout)[0]
    finally:
        peers.close()


def alive(release: Release) -> bool:
    try:
        return call(release, "ping", timeout=2.0) == "pong"
    except NotReachable:
        return False


def not_responding(release: Release) -> int:
    print(f"Node {identity(release)[0]} is not responding to pings")
    return 1


def foreground(release: Release) -> int:
    try:
        configuration, _, _ = generate(release)
    except (cuttlefish.Refused, OSError):
        print("Cuttlefish failed! Oh no!: ")
        return 1
    if interface := distribution_interface(release.etc / "advanced.config"):
        configuration.values["erlang.distribution.interface"] = interface
    return release.run(configuration, release.etc)


def distribution_interface(advanced: Path) -> str:
    """`{kernel, [{inet_dist_use_interface, {A,B,C,D}}]}` as an address; empty when it is not there."""
    terms = erlang_terms.parse(advanced.read_text()) if advanced.exists() else []
    return ".".join(map(str, erlang_terms.lookup(terms, "kernel", "inet_dist_use_interface") or ()))


def start(release: Release) -> int:
    """Forks the node, waits until it answers, returns."""
    if alive(release):
        print("Node is already running!")
        return 1
    module = "riak" if release.name == "riak" else "riak_cs"
    child = subprocess.Popen(
        [sys.executable, "-m", f"tests.hosts.standin.commands.{module}", "foreground"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        if child.poll() is not None:
            print(f"{release.name} failed to start within 15 seconds,\nsee the output of '{release.name} console'")
            return 1
        if alive(release):
            return 0
        time.sleep(0.1)
    print(f"{release.name} failed to start within 15 seconds,\nsee the output of '{release.name} console'")
    return 1


def stop(release: Release) -> int:
    try:
        call(release, "stop", timeout=10.0)
    except NotReachable:
        return not_responding(release)
    end = time.monotonic() + 30
    while alive(release) and time.monotonic() < end:
        time.sleep(0.05)
    print("ok")
    return 0


def chkconfig(release: Release) -> int:
    try:
        _, app, args = generate(release)
    except (cuttlefish.Refused, OSError):
        print("Cuttlefish failed! Oh no!: ")
        return 1
    print(f"config is OK\n-config {app} -args_file {args} -vm_args {args}")
    return release.chkconfig_success


def main(
    release: Release, words: list[str], admin: Callable[[list[str]], int], extra: Callable[[list[str]], int]
) -> int:
    match words:
        case [("foreground" | "console"), *_]:
            become(release.user)
            return foreground(release)
        case [("start" | "daemon"), *_]:
            become(release.user)
            return start(release)
        case ["chkconfig", *_]:
            become(release.user)
            return chkconfig(release)
        case ["admin", *rest]:
            become(release.user)
            return admin(rest)
        case [name, *_] if name in release.subcommands.split("|"):
            become(release.user)
            return extra(words)
    return _running(release, words)


def _running(release: Release, words: list[str]) -> int:
    """Commands about the running node."""
    match words:
        case ["stop"]:
            become(release.user)
            return stop(release)
        case [("ping" | "pid" | "status" | "restart" | "reboot" | "eval" | "rpc" | "remote_console") as name, *_]:
            if not alive(release):
                return not_responding(release)
            shown = {"ping": "pong", "pid": lambda: call(release, "pid"), "restart": "ok", "reboot": "ok"}.get(name)
            if shown is not None:
                print(shown() if callable(shown) else shown)
            return 0
        case ["versions"]:
            print(f"Installed versions:\n* {release.version}\tpermanent")
            return 0
    sys.stdout.write(release.usage)
    return 1


def until_signal(ended: Any) -> None:
    """Waits for SIGTERM, SIGINT or for the node's own end."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    while not ended.wait(0.5):
        pass
