"""The .deb files that are deployed: the stand-ins, or the real ones of MILLRACE_RIAK_PACKAGES."""

import hashlib
import os
import shutil
import subprocess
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


def of_this_run(scratch: Path) -> Packages:
    given = os.environ.get("MILLRACE_RIAK_PACKAGES")
    return real(Path(given), scratch) if given else standins(scratch)


def standins(folder: Path, riak_version: str = KV_VERSION, riak_cs_version: str = CS_VERSION) -> Packages:
    """Builds them; other versions than the recorded ones behave the same and only say that they are others."""
    build(RIAK, riak_version, folder)
    build(RIAK_CS, riak_cs_version, folder)
    _sum(folder)
    return Packages(folder, real=False, riak_version=riak_version, riak_cs_version=riak_cs_version)


def real(given: Path, folder: Path) -> Packages:
    """Copies, since the given folder may hold other files and need not have sums. The newest of each counts."""
    folder.mkdir(parents=True, exist_ok=True)
    versions = {}
    for name in ("riak", "riak-cs"):
        found = {_field(path, "Version"): path for path in given.glob("*.deb") if _field(path, "Package") == name}
        if not found:
            raise AssertionError(f"MILLRACE_RIAK_PACKAGES={given} holds no .deb file of the package {name}")
        version = max(found, key=lambda text: [int(part) for part in text.split("-")[0].split(".")])
        shutil.copy(found[version], folder / f"{name}_{version}_{_field(found[version], 'Architecture')}.deb")
        versions[name] = version.split("-")[0]
    _sum(folder)
    return Packages(folder, real=True, riak_version=versions["riak"], riak_cs_version=versions["riak-cs"])


def _field(path: Path, name: str) -> str:
    command = ["dpkg-deb", "--field", str(path), name]
    return subprocess.run(command, check=True, text=True, capture_output=True).stdout.strip()


def _sum(folder: Path) -> None:
    sums = (f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in sorted(folder.glob("*.deb")))
    (folder / "SHA256SUMS").write_text("".join(sums))
