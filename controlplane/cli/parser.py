"""The command line. Each command names the function that does it, as text: nothing is imported before it is chosen."""

from __future__ import annotations

import argparse
import math
from datetime import UTC, datetime
from typing import TypeAlias

from controlplane.cli import simulate_arguments
from controlplane.cli.exit_codes import MEANINGS
from controlplane.version import VERSION

_EPILOG = (
    "exit codes:\n"
    + "\n".join(f"  {code.value:>3}  {meaning}" for code, meaning in MEANINGS.items())
    + """

environment:
  MILLRACE_CONFIG      settings file, instead of /etc/millrace/millrace.toml
  MILLRACE__A__B       the setting a.b, over the file's
  MILLRACE_URL         base URL of a gateway (several: separated by spaces)
  MILLRACE_TOKEN       bearer token for the gateway
  MILLRACE_TOKEN_FILE  file that holds the token
  MILLRACE_CA_FILE     certificate authority of the gateway
  MILLRACE_DEBUG=1     tracebacks instead of one-line errors
"""
)

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def build_parser(first: str = "") -> argparse.ArgumentParser:
    """`first`: the first argument, where it is known: a process that serves does without the other commands, which take
    as long to describe as its settings take to read."""
    parser = argparse.ArgumentParser(
        prog="millrace",
        description="Blobs by GUID, mirrored to S3, found through etcd.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"millrace {VERSION}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _serving(commands)
    if first in commands.choices:
        return parser
    _blobs(commands)
    _mirror(commands)
    _catalog(commands)
    _endpoints(commands)
    _gc(commands)
    _users(commands)
    _settings(commands)
    _doctor(commands)
    _simulate(commands)
    _command(commands, "version", "print the version", "config_commands:version")
    return parser


def _command(commands: Commands, name: str, what: str, run: str = "") -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=what, description=what, allow_abbrev=False)
    if run:
        parser.set_defaults(run=f"controlplane.cli.{run}")
    return parser


def _group(commands: Commands, name: str, what: str) -> Commands:
    return _command(commands, name, what).add_subparsers(title="commands", metavar="COMMAND", required=True)


def _config(parser: argparse.ArgumentParser) -> None:
    what = "settings file (default: $MILLRACE_CONFIG, else /etc/millrace/millrace.toml where there is one)"
    parser.add_argument("--config", metavar="FILE", help=what)


def _json(parser: argparse.ArgumentParser, what: str = "print JSON") -> None:
    parser.add_argument("--json", action="store_true", help=what)


def _serving(commands: Commands) -> None:
    dev = _command(
        commands,
        "dev",
        "gateway and agent in one process over embedded stores",
        "serve_commands:dev",
    )
    dev.add_argument("--data-dir", metavar="DIR", help="where everything is kept (default: ./millrace-data)")
    dev.add_argument("--port", type=_port, help="port of the blob API (default: 8470; 0 takes a free one)")
    dev.add_argument("--config", metavar="FILE", help="settings file; without one, settings made for trying things out")
    gateway = _command(commands, "gateway", "serve blob API and S3 front until SIGTERM", "serve_commands:gateway")
    gateway.add_argument(
        "--workers", type=int, metavar="N", help="processes that share the ports (default: gateway.workers, which is 1)"
    )
    _config(gateway)
    _config(_command(commands, "agent", "mirror, and publish the endpoint, until SIGTERM", "serve_commands:agent"))


def _blobs(commands: Commands) -> None:
    blob = _group(commands, "blob", "put, get, remove and look at blobs")
    put = _command(blob, "put", "store files; print GUID, size and name of each", "blob_commands:put")
    put.add_argument("files", nargs="+", metavar="FILE", help="a file, or - for standard input")
    put.add_argument("--guid", metavar="GUID", help="the GUID that the one file must have")
    put.add_argument("--content-type", metavar="TYPE", default="application/octet-stream", help="media type to keep")
    _json(put, "print one JSON object a line")
    get = _command(blob, "get", "fetch a blob and verify its MD5 and SHA-256", "blob_commands:get")
    get.add_argument("guid", nargs="?", metavar="GUID")
    get.add_argument("--sha256", metavar="HEX", help="find the blob by its SHA-256 instead")
    get.add_argument("-o", "--output", metavar="FILE", help="file to write, or - for standard output (the default)")
    rm = _command(blob, "rm", "delete blobs, from every store", "blob_commands:rm")
    rm.add_argument("guids", nargs="+", metavar="GUID")
    stat = _command(blob, "stat", "what is known about a blob", "blob_commands:stat")
    stat.add_argument("guid", nargs="?", metavar="GUID")
    stat.add_argument("--sha256", metavar="HEX", help="find the blob by its SHA-256 instead")
    _json(stat)
    for parser in (put, get, rm, stat):
        _gateway_options(parser)


def _gateway_options(parser: argparse.ArgumentParser) -> None:
    where = parser.add_argument_group("gateway")
    what = "base URL; may be repeated (default: $MILLRACE_URL, else the endpoints in the directory of the settings)"
    where.add_argument("--url", action="append", metavar="URL", help=what)
    what = "file that holds the bearer token (default: $MILLRACE_TOKEN, else $MILLRACE_TOKEN_FILE)"
    where.add_argument("--token-file", metavar="FILE", help=what)
    what = "PEM file of the certificate authority (default: $MILLRACE_CA_FILE, else the system's)"
    where.add_argument("--ca-file", metavar="FILE", help=what)
    what = "how long to try again while the service is unavailable (default: 0)"
    where.add_argument("--wait", type=_seconds, default=0.0, metavar="SECONDS", help=what)
    what = "longest silence of the gateway (default: 300)"
    where.add_argument("--timeout", type=_positive_seconds, default=300.0, metavar="SECONDS", help=what)
    where.add_argument("--quiet", action="store_true", help="no progress bar")
    _config(parser)


def _mirror(commands: Commands) -> None:
    mirror = _group(commands, "mirror", "the copies in the persistent store, as this node's journal knows them")
    status = _command(
        mirror, "status", "what is pending, what failed; exit code 1: unhealthy", "mirror_commands:status"
    )
    what = "watch for so long, and tell how much was copied a second meanwhile (default: 0, no rate)"
    status.add_argument("--rate", type=_seconds, default=0.0, metavar="SECONDS", help=what)
    status.add_argument("--max-age", type=_seconds, metavar="SECONDS", help="unhealthy when one is pending longer")
    pause = _command(mirror, "pause", "stop copying, until `resume`, over restarts too", "mirror_commands:pause")
    resume = _command(mirror, "resume", "go on copying", "mirror_commands:resume")
    for parser, what in ((pause, "pause"), (resume, "resume")):
        parser.add_argument(
            "rules", nargs="*", metavar="RULE", help="as `mirror status` names it; blobs: that of blobs"
        )
        parser.add_argument("--all", action="store_true", help=f"{what} the whole mirror")
    failed = _command(mirror, "failed", "the copies that were given up", "mirror_letters:failed")
    failed.add_argument("--rule", metavar="RULE", help="only those of this rule")
    failed.add_argument("--dropped", action="store_true", help="those that were dropped, when, by whom and why")
    inspect = _command(mirror, "inspect", "all that the journal knows of one entry", "mirror_letters:inspect")
    inspect.add_argument("seq", type=int, metavar="SEQ", help="its number, as `mirror failed` prints it")
    retry = _command(mirror, "retry", "try failed copies again", "mirror_letters:retry")
    retry.add_argument("seqs", nargs="*", type=int, metavar="SEQ", help="numbers, as `mirror failed` prints them")
    retry.add_argument("--all", action="store_true", help="all that failed")
    retry.add_argument("--rule", metavar="RULE", help="all that failed of this rule")
    drop = _command(mirror, "drop", "give failed copies up for good; a record of it stays", "mirror_letters:drop")
    drop.add_argument("seqs", nargs="+", type=int, metavar="SEQ", help="numbers, as `mirror failed` prints them")
    drop.add_argument("--reason", required=True, metavar="TEXT", help="kept with the record")
    scans = _scans(mirror)
    for parser in (status, pause, resume, failed, inspect, retry, drop, *scans):
        _json(parser)
        parser.add_argument("--data-dir", metavar="DIR", help="instead of node.data_dir: that of `millrace dev`")
        _config(parser)


def _scans(mirror: Commands) -> tuple[argparse.ArgumentParser, ...]:
    diff = _command(mirror, "diff", "what differs between Riak CS and its copies; exit code 1", "scan_commands:diff")
    verify = _command(
        mirror, "verify", "the same, asking for every copy; exit code 6: damaged bytes", "scan_commands:verify"
    )
    verify.add_argument("--read", action="store_true", help="read all bytes of the copies too")
    verify.add_argument("--repair", action="store_true", help="put what is found into the journal, to be copied")
    backfill = _command(
        mirror, "backfill", "put what is missing or different into the journal, to be copied", "scan_commands:backfill"
    )
    backfill.add_argument(
        "--allow-deletes",
        type=_count,
        metavar="N",
        help="also delete up to N copies whose objects are gone (for mirror.scan.grace_s), past the guard's bounds",
    )
    for parser in (diff, verify, backfill):
        parser.add_argument("what", nargs="?", metavar="RULE|BUCKET", help="only this rule, or this bucket")
        parser.add_argument("--prefix", default="", metavar="PREFIX", help="only keys that begin with it")
        parser.add_argument("--quiet", action="store_true", help="no progress bar")
    restore = _command(
        mirror, "restore", "put back what Riak CS lost, from the copies; overwrites nothing", "restore_commands:restore"
    )
    restore.add_argument(
        "--as-of",
        type=_moment,
        metavar="TIME",
        help="only what was written up to then (2026-11-25T10:00Z, or Unix seconds)",
    )
    restore.add_argument(
        "--up-to",
        type=int,
        metavar="SEQ",
        help="only what was written up to that entry of the journal (`mirror inspect`, millrace-seq of a copy)",
    )
    restore.add_argument(
        "--deleted",
        action="store_true",
        help="also what was deleted, as long as its copy has not gone yet: within mirror.delete_grace_s, or while the "
        "target is away; not under rules that read through",
    )
    prewarm = _command(
        mirror, "prewarm", "the same for rules that read through: before readers ask", "restore_commands:prewarm"
    )
    for parser in (restore, prewarm):
        parser.add_argument("what", nargs="?", metavar="RULE|BUCKET", help="only this rule, or this bucket")
        parser.add_argument("--prefix", default="", metavar="PREFIX", help="only keys that begin with it")
        parser.add_argument("--quiet", action="store_true", help="no progress bar")
    return diff, verify, backfill, restore, prewarm


def _catalog(commands: Commands) -> None:
    catalog = _group(commands, "catalog", "what this node knows of blobs and copies: a cache")
    rebuild = _command(catalog, "rebuild", "make it anew from what the stores say", "catalog_commands:rebuild")
    rebuild.add_argument("--quiet", action="store_true", help="no progress bar")
    rebuild.add_argument("--data-dir", metavar="DIR", help="instead of node.data_dir: that of `millrace dev`")
    _json(rebuild)
    _config(rebuild)


def _endpoints(commands: Commands) -> None:
    endpoints = _group(commands, "endpoints", "who serves, as etcd says")
    for name, what in (
        ("list", "the endpoints now"),
        ("watch", "the endpoints now, and each change"),
    ):
        parser = _command(endpoints, name, what, f"endpoint_commands:{name}_endpoints")
        parser.add_argument("--service", default="blobs", help="default: blobs")
        _json(parser, "print JSON" if name == "list" else "print one JSON object a line")
        _config(parser)


def _gc(commands: Commands) -> None:
    gc = _group(commands, "gc", "whose Riak CS collects the garbage, and what the one on this machine does")
    status = _command(gc, "status", "who holds the duty; exit code 1: nobody, or one too many", "gc_commands:status")
    halt = _command(gc, "halt", "halt the garbage collection of the Riak CS on this machine", "gc_commands:halt")
    _json(status)
    for parser in (status, halt):
        _config(parser)


def _users(commands: Commands) -> None:
    users = _group(commands, "users", "the users of Riak CS, who are those of the S3 front")
    create = _command(users, "create", "a new user with keys of its own", "user_commands:create")
    create.add_argument("name", metavar="NAME", help="unique among all users")
    create.add_argument("email", metavar="E-MAIL", help="unique too; what stands before the @ is the display name")
    listed = _command(users, "list", "all users, without secrets", "user_commands:list_users")
    listed.add_argument("--status", choices=("enabled", "disabled"), help="only these")
    show = _command(users, "show", "one user", "user_commands:show")
    disable = _command(users, "disable", "refuse a user's requests", "user_commands:disable")
    enable = _command(users, "enable", "serve a user again", "user_commands:enable")
    rotate = _command(users, "rotate", "give a user a new secret", "user_commands:rotate")
    for parser in (show, disable, enable, rotate):
        parser.add_argument("user", metavar="USER", help="access key, name, e-mail address or canonical id")
    for parser in (create, show, rotate):
        parser.add_argument("--secret", action="store_true", help="print the secret key too")
        parser.add_argument("--secret-file", metavar="FILE", help="write the secret key to this new file (mode 0600)")
    for parser in (create, listed, show, disable, enable, rotate):
        _json(parser)
        _config(parser)


def _settings(commands: Commands) -> None:
    check = _command(commands, "check-config", "find every fault in a settings file", "config_commands:check_config")
    check.add_argument("file", metavar="FILE")
    check.add_argument("--show", action="store_true", help="print the settings in force as JSON, without secrets")
    _command(commands, "example-config", "print a settings file that explains each setting", "config_commands:example")


def _doctor(commands: Commands) -> None:
    doctor = _command(commands, "doctor", "try every configured part; say what is wrong", "doctor:doctor")
    doctor.add_argument("--timeout", type=_positive_seconds, default=10.0, metavar="SECONDS", help="of each check (10)")
    doctor.add_argument("--data-dir", metavar="DIR", help="instead of node.data_dir: that of `millrace dev`")
    _json(doctor)
    _config(doctor)


def _simulate(commands: Commands) -> None:
    what = "what a cluster of a given size would cost, and where the design would bend"
    simulate = _command(commands, "simulate", what, "simulate_commands:simulate")
    simulate_arguments.add(simulate)
    _json(simulate)


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) <= 65_535):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: give a number from 0 to 65535")
    return int(text)


def _moment(text: str) -> float:
    """Unix seconds. A time without a zone is UTC."""
    try:
        return float(text)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no time: write 2026-11-25T10:00Z, or Unix seconds") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of objects")
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return value


def _positive_seconds(text: str) -> float:
    value = _seconds(text)
    if not value:
        raise argparse.ArgumentTypeError("must be more than 0 seconds")
    return value
