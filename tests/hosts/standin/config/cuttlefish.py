"""The cuttlefish escript: reads a .conf file by a schema, reports every error, writes app.*.config and vm.*.args.

Usage as the real one: cuttlefish -e ETC -s SCHEMA_DIR -d DESTINATION -c FILE. The schema directory's name says which
schema is meant: the one below riak-cs is that of Riak CS.
"""

import argparse
import datetime as dt
import difflib
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.hosts.standin.config import conf_file, cs_schema, erlang_terms, kv_schema
from tests.hosts.standin.config.schema import Setting, problem

Report = Callable[[str], None]


@dataclass(frozen=True)
class Configuration:
    """What a file means: all settings with their defaults filled in, and what it set itself."""

    values: dict[str, str]
    explicit: dict[str, str]


class Refused(Exception):
    """The file is wrong; the reasons were reported."""


def _timestamped(text: str) -> None:
    now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%f+00:00")
    sys.stdout.write(f"{now} [error] {text}\n")


def find(settings: tuple[Setting, ...], key: str) -> Setting | None:
    return next((s for s in settings if s.matches(key)), None)


def load(path: Path, settings: tuple[Setting, ...], report: Report = _timestamped) -> Configuration:
    """Reads and checks a file. Raises Refused after reporting, as the real one words it."""
    try:
        explicit = conf_file.parse(path)
    except conf_file.SyntaxFailure as failure:
        report(f"Syntax error in {failure.args[0]} after line {failure.args[1]} column 1, parsing incomplete")
        raise Refused from failure
    unknown = [key for key in explicit if find(settings, key) is None]
    for key in unknown:
        report(f"You've tried to set {key}, but there is no setting with that name.")
        report("Did you mean one of these?")
        for near in difflib.get_close_matches(key, [s.key for s in settings], 3, 0):
            report(near)
    complaints = [f"Conf file attempted to set unknown variable: {key}" for key in unknown]
    for key, value in explicit.items():
        setting = find(settings, key)
        wrong = setting and "$(" not in value and problem(setting.datatype, value)
        if wrong:
            complaints += [f"Error transforming datatype for: {key}", wrong]
    if complaints:
        report("Error generating configuration in phase transform_datatypes")
        for text in complaints:
            report(text)
        raise Refused
    values = {s.key: s.default for s in settings if s.default is not None and "$" not in s.key.replace("$(", "")}
    values.update(explicit)
    try:
        return Configuration({k: _substituted(v, values) for k, v in values.items()}, explicit)
    except KeyError as missing:
        report("Error generating configuration in phase rhs_subst")
        report(f"There's no setting {missing.args[0]} to substitute")
        raise Refused from missing


def _substituted(value: str, values: dict[str, str]) -> str:
    for _ in range(5):
        names = re.findall(r"\$\(([^)]+)\)", value)
        if not names:
            return value
        for name in names:
            value = value.replace(f"$({name})", values[name])
    return value


def generate(configuration: Configuration, advanced: Path, destination: Path) -> tuple[Path, Path]:
    """Writes app.<time>.config and vm.<time>.args; an advanced.config that is no term stops it."""
    if advanced.exists():
        try:
            erlang_terms.parse(advanced.read_text())
        except erlang_terms.TermFailure as failure:
            raise Refused(f"Error parsing {advanced}: {failure}") from failure
    destination.mkdir(parents=True, exist_ok=True)
    stamp = dt.datetime.now(dt.UTC).strftime("%Y.%m.%d.%H.%M.%S")
    app, args = destination / f"app.{stamp}.config", destination / f"vm.{stamp}.args"
    pairs = ",\n".join(f' {{"{key}","{value}"}}' for key, value in sorted(configuration.values.items()))
    app.write_text(f"[{{standin,[\n{pairs}]}}].\n")
    args.write_text(
        f"-name {configuration.values['nodename']}\n-setcookie {configuration.values['distributed_cookie']}\n"
    )
    return app, args


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser("cuttlefish")
    parser.add_argument("-e", "--etc_dir", required=True)
    parser.add_argument("-s", "--schema_dir", required=True)
    parser.add_argument("-d", "--dest_dir")
    parser.add_argument("-c", "--conf_file", required=True)
    parser.add_argument("-a", "--advanced_conf_file")
    options, _ = parser.parse_known_args(argv)
    is_cs = "riak-cs" in options.schema_dir or Path(options.conf_file).name == "riak-cs.conf"
    schema = cs_schema.SETTINGS if is_cs else kv_schema.SETTINGS
    destination = Path(options.dest_dir or Path(options.etc_dir, "generated"))
    advanced = Path(options.advanced_conf_file or Path(options.etc_dir, "advanced.config"))
    try:
        app, args = generate(load(Path(options.conf_file), schema), advanced, destination)
    except OSError as error:
        _timestamped(f"{options.conf_file}: {error.strerror}")
        return 1
    except Refused as refused:
        if refused.args:
            _timestamped(str(refused))
        return 1
    sys.stdout.write(f" -config {app} -args_file {args} -vm_args {args} \n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
