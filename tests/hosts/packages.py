"""The .deb files that are deployed: the stand-ins, or the real ones of MILLRACE_RIAK_PACKAGES."""

import functools
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.hosts.standin import CS_VERSION, KV_VERSION
from tests.hosts.standin.packages.build_debs import RIAK, RIAK_CS, build


@dataclass(frozen=True)
class Packages:
    """A folder as the roles want it: one file of each, and SHA256SUMS. The versions are those of the files."""

    folder: Path
    real: bool
    riak_version: str
    riak_cs_version: str

    @property
    def environment(self) -> dict[str, str]:
        """What inventories/lab reads."""
        where = "MILLRACE_RIAK_PACKAGES" if self.real else "MILLRACE_STANDIN_PACKAGES"
        other = "MILLRACE_STANDIN_PACKAGES" if self.real else "MILLRACE_RIAK_PACKAGES"
        versions = {"MILLRACE_RIAK_VERSION": self.riak_version, "MILLRACE_RIAK_CS_VERSION": self.riak_cs_version}
        return {where: str(self.folder), other: "", **versions}

    @property
    def names(self) -> tuple[str, str]:
        """What dpkg calls Riak KV and Riak CS."""
        return ("riak", "riak-cs") if self.real else ("riak-standin", "riak-cs-standin")


def of_this_run(scratch: Path) -> Packages:
    given = os.environ.get("MILLRACE_RIAK_PACKAGES")
    return real(Path(given), scratch) if given else standins(scratch)


def standins(folder: Path, riak_version: str = KV_VERSION, riak_cs_version: str = CS_VERSION) -> Packages:
    """Builds them; other versions than the recorded ones behave the same and only say that they are others."""
    build(RIAK, riak_version, folder)
    build(RIAK_CS, riak_cs_version, folder)
    _sum(folder)
    return Packages(folder, real=False, riak_version=riak_version, riak_cs_version=riak_cs_version)


def newer(packages: Packages, folder: Path) -> Packages:
    """The same programs under the next version: an upgrade can be tried without a second release of the real ones."""
    versions = [following(version) for version in (packages.riak_version, packages.riak_cs_version)]
    if not packages.real:
        return standins(folder, *versions)
    folder.mkdir(parents=True, exist_ok=True)
    for name, version in zip(packages.names, versions, strict=True):
        (file,) = packages.folder.glob(f"{name}_[0-9]*.deb")
        renumbered(file, version, folder)
    _sum(folder)
    return Packages(folder, True, *versions)


def following(version: str) -> str:
    """3.2.4 of 3.2.3."""
    *former, last = version.split(".")
    return ".".join([*former, str(int(last) + 1)])


def renumbered(file: Path, version: str, folder: Path) -> Path:
    """A copy of a package that says it is of another version. Riak CS's code is found under that one, too: KV loads it
    by a path that names it."""
    name, architecture = _field(file, "Package"), _field(file, "Architecture")
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        root = Path(scratch, "root")
        subprocess.run(["dpkg-deb", "--raw-extract", str(file), str(root)], check=True)
        control = root / "DEBIAN/control"
        control.write_text(re.sub(r"(?m)^Version: .*$", f"Version: {version}-1", control.read_text()))
        for code in root.glob("usr/lib/riak-cs/lib/riak_cs-*"):
            (code.parent / f"riak_cs-{version}").symlink_to(code.name)
        target = folder / f"{name}_{version}-1_{architecture}.deb"
        command = ["dpkg-deb", "--build", "--root-owner-group", "-Zgzip", "-z1", str(root), str(target)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return target


def real(given: Path, folder: Path) -> Packages:
    """Copies, since the given folder may hold other files and need not have sums. The newest of each counts."""
    folder.mkdir(parents=True, exist_ok=True)
    versions = {}
    for name in ("riak", "riak-cs"):
        found = real_versions(given, name)
        if not found:
            raise AssertionError(f"MILLRACE_RIAK_PACKAGES={given} holds no .deb file of the package {name}")
        version = list(found)[-1]
        path = found[version]
        plain = version.partition(":")[2] or version  # files are named without the epoch
        shutil.copy(path, folder / f"{name}_{plain}_{_field(path, 'Architecture')}.deb")
        versions[name] = upstream(version)
    _sum(folder)
    return Packages(folder, real=True, riak_version=versions["riak"], riak_cs_version=versions["riak-cs"])


def real_versions(given: Path, name: str) -> dict[str, Path]:
    """The files of a package for this machine by version, oldest first."""
    machine = subprocess.run(
        ["dpkg", "--print-architecture"], check=True, text=True, capture_output=True
    ).stdout.strip()
    found = {
        _field(path, "Version"): path
        for path in sorted(given.glob("*.deb"))
        if _field(path, "Package") == name and _field(path, "Architecture") in (machine, "all")
    }
    return {version: found[version] for version in sorted(found, key=functools.cmp_to_key(_compare))}


def upstream(version: str) -> str:
    """What riak_version says: 3.2.3 of 3.2.3-1, 3.2.3-OTP25, 3.2.3.OTP25-1 or 1:3.2.3+debian12."""
    found = re.match(r"(?:\d+:)?(\d+(?:\.\d+)*)", version)
    if not found:
        raise AssertionError(f"{version} does not begin with a version")
    return found[1]


def _compare(one: str, other: str) -> int:
    """As dpkg does: -1, 0 or 1."""
    if one == other:
        return 0
    return -1 if subprocess.run(["dpkg", "--compare-versions", one, "lt", other], check=False).returncode == 0 else 1


def _field(path: Path, name: str) -> str:
    command = ["dpkg-deb", "--field", str(path), name]
    return subprocess.run(command, check=True, text=True, capture_output=True).stdout.strip()


def _sum(folder: Path) -> None:
    sums = (f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in sorted(folder.glob("*.deb")))
    (folder / "SHA256SUMS").write_text("".join(sums))
