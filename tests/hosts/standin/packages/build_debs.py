"""Builds riak-standin and riak-cs-standin with dpkg-deb: python -m tests.hosts.standin.packages.build_debs FOLDER.

The versions may be chosen, for tests of upgrades. The packages are named so that nobody takes them for the real ones;
they provide `riak` and `riak-cs`.
"""

import argparse
import compileall
import os
import py_compile
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.hosts.standin import CS_VERSION, KV_VERSION
from tests.hosts.standin.config import cs_schema, kv_schema
from tests.hosts.standin.config.schema import Setting
from tests.hosts.standin.packages import stock

SOURCE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Package:
    name: str
    user: str
    depends: str
    conf: str
    settings: tuple[Setting, ...]
    advanced: str
    unit: str
    module: str
    extras: tuple[str, ...]
    etc_mode: int
    enable: bool

    @property
    def prefix(self) -> str:
        return f"/usr/lib/{self.name}"


RIAK = Package(
    "riak",
    "riak",
    "adduser, logrotate, sudo, python3 (>= 3.11)",
    "riak.conf",
    kv_schema.SETTINGS,
    stock.KV_ADVANCED,
    stock.KV_UNIT,
    "commands.riak",
    ("admin", "repl", "debug", "chkconfig"),
    0o755,
    enable=False,
)
RIAK_CS = Package(
    "riak-cs",
    "riak_cs",
    "adduser, openssl, python3 (>= 3.11)",
    "riak-cs.conf",
    cs_schema.SETTINGS,
    stock.CS_ADVANCED,
    stock.CS_UNIT,
    "commands.riak_cs",
    ("admin", "supercluster", "debug", "chkconfig"),
    0o750,
    enable=True,
)


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def _postinst(package: Package) -> str:
    name, user = package.name, package.user
    enable = f"deb-systemd-helper enable {name}.service >/dev/null || true\n" if package.enable else ""
    return f"""\
#!/bin/sh
set -e
if [ "$1" = configure ]; then
  getent group {user} >/dev/null || addgroup --quiet --system {user}
  getent passwd {user} >/dev/null || adduser --quiet --system --force-badname --ingroup {user} \
    --home /var/lib/{name} --no-create-home --shell /bin/bash --gecos "{name} stand-in" {user}
  chown -R {user}:{user} /var/lib/{name} /var/log/{name} /etc/{name}
  chmod {package.etc_mode:o} /etc/{name}
  chmod 750 /var/log/{name}
  if [ -d /run/systemd/system ]; then systemctl daemon-reload || true; fi
  {enable}fi
"""


def _postrm(package: Package) -> str:
    return f"""\
#!/bin/sh
set -e
if [ "$1" = purge ]; then
  pkill -KILL -u {package.user} || true
  rm -rf /var/lib/{package.name} /var/log/{package.name} /etc/{package.name}
  deluser --quiet {package.user} || true
fi
if [ -d /run/systemd/system ]; then systemctl daemon-reload || true; fi
"""


def _control(package: Package, version: str, size: int) -> str:
    return f"""\
Package: {package.name}-standin
Version: {version}-1
Architecture: all
Maintainer: Millrace tests <tests@example.invalid>
Installed-Size: {size}
Depends: {package.depends}
Provides: {package.name} (= {version})
Conflicts: {package.name}
Section: database
Priority: optional
Description: stand-in for {package.name} {version}, for tests only
 Lays out files, users, units, commands and ports as the real package does. It keeps no data safe.
"""


def _compile(folder: Path, root: Path) -> None:
    """Every command of an administrator is a Python of its own: half of its time goes into compiling what it imports. A
    Python of another version on the hosts passes these files over."""
    compileall.compile_dir(
        folder,
        quiet=1,
        stripdir=str(root),
        prependdir="/",
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )


def _lay_out(package: Package, version: str, root: Path) -> None:
    name, prefix = package.name, package.prefix
    shutil.copytree(
        SOURCE,
        root / f"{prefix[1:]}/standin/tests/hosts/standin",
        ignore=shutil.ignore_patterns("__pycache__", "packages", "*.md", ".*"),
    )
    _compile(root / f"{prefix[1:]}/standin", root)
    text = stock.conf(package.settings, defect=name == "riak")
    _write(root / f"etc/{name}/{package.conf}", text, 0o640)
    _write(root / f"etc/{name}/advanced.config", package.advanced, 0o640)
    _write(root / f"lib/systemd/system/{name}.service", package.unit)
    _write(root / f"usr/sbin/{name}", stock.wrapper(prefix, package.module), 0o755)
    for extra in package.extras:
        _write(root / f"usr/sbin/{name}-{extra}", stock.wrapper(prefix, package.module, extra), 0o755)
    _write(root / f"{prefix[1:]}/erts-13.1.5/bin/escript", stock.ESCRIPT, 0o755)
    _write(root / f"{prefix[1:]}/bin/cuttlefish", stock.wrapper(prefix, "config.cuttlefish"), 0o755)
    _write(root / f"{prefix[1:]}/bin/{name}", stock.wrapper(prefix, package.module), 0o755)
    _write(root / f"{prefix[1:]}/share/schema/{name}.schema", "%% the stand-in's schema is in its cuttlefish\n")
    _write(root / f"{prefix[1:]}/releases/start_erl.data", f"13.1.5 {version}\n")
    _write(root / f"{prefix[1:]}/releases/{version}/{name}.rel", f"%% {name} {version}\n")
    library = f"riak_cs-{version}" if name == "riak-cs" else f"riak_kv-{version}"
    _write(root / f"{prefix[1:]}/lib/{library}/ebin/.keep", "")
    for folder in (f"var/lib/{name}", f"var/log/{name}", f"etc/{name}/conf.d"):
        (root / folder).mkdir(parents=True, exist_ok=True)


def build(package: Package, version: str, folder: Path) -> Path:
    """Returns the .deb; needs dpkg-deb."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch, "root")
        root.mkdir(mode=0o755)
        _lay_out(package, version, root)
        size = sum(f.stat().st_size for f in root.rglob("*") if f.is_file()) // 1024
        _write(root / "DEBIAN/control", _control(package, version, size))
        _write(root / "DEBIAN/conffiles", f"/etc/{package.name}/{package.conf}\n/etc/{package.name}/advanced.config\n")
        _write(root / "DEBIAN/postinst", _postinst(package), 0o755)
        _write(root / "DEBIAN/postrm", _postrm(package), 0o755)
        target = folder / f"{package.name}-standin_{version}-1_all.deb"
        command = ["dpkg-deb", "--build", "--root-owner-group", "-Zgzip", "-z1", str(root), str(target)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=os.environ | {"SOURCE_DATE_EPOCH": "0"})
    return target


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kv-version", default=KV_VERSION)
    parser.add_argument("--cs-version", default=CS_VERSION)
    options = parser.parse_args()
    print(build(RIAK, options.kv_version, options.folder))
    print(build(RIAK_CS, options.cs_version, options.folder))


if __name__ == "__main__":
    main()
