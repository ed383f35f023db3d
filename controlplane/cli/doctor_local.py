"""What doctor looks at on this machine: directory, disk, limits, journal, catalog, cache, certificates, tokens."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import resource
import secrets
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from controlplane.cli import output
from controlplane.cli.certificates import describe_certificate
from controlplane.cli.doctor import Check, Finding, Health

if TYPE_CHECKING:
    from controlplane.settings.tree import Settings

_LEAST_FREE_BYTES = 64 * 1024**2
_FEW_FREE_BYTES = 1024**3
_FEW_FREE_SHARE = 0.05
_SPARE_DESCRIPTORS = 128
_EXPIRES_SOON_S = 21 * 86_400.0


def checks(settings: Settings) -> list[Check]:
    data_dir = settings.node.data_dir
    found = [
        Check("data_dir", partial(_directory, "data_dir", data_dir), f"look at {data_dir}"),
        Check("disk space", partial(_space, "disk space", data_dir), f"look at {data_dir}"),
        Check("limits", partial(_limits, settings)),
        Check(
            "journal", partial(_journal, settings), "stop gateway and agent, move journal.db aside, and ask for help"
        ),
        Check("catalog", partial(_catalog, settings), "it can be rebuilt: move catalog.db aside and restart"),
        Check("tokens", partial(_tokens, settings)),
    ]
    if settings.hot_cache.on_disk:
        path = settings.hot_cache.path or data_dir / "hot"
        found.append(Check("hot cache", partial(_directory, "hot cache", path), f"look at {path}"))
    if settings.gateway.tls.cert_file is not None:
        found.append(Check("certificate", partial(_certificate, settings), "renew the certificate"))
    return found


def _directory(name: str, path: Path) -> Finding:
    """Exists (or can be made), is ours, and its file system can do what durability needs."""
    if not path.exists():
        above = next(each for each in path.parents if each.exists())
        if os.access(above, os.W_OK | os.X_OK):
            return Finding(name, Health.OK, f"{path} does not exist yet: the first start makes it")
        advice = f"make it: install -d -m 0750 -o <user> {path}"
        return Finding(name, Health.FAIL, f"{path} does not exist, and {_me()} cannot make it in {above}", advice)
    if not path.is_dir():
        return Finding(name, Health.FAIL, f"{path} is not a directory", "move it aside")
    owner = path.stat().st_uid
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        advice = f"run as its owner, or: chown -R {_me()} {path}"
        return Finding(name, Health.FAIL, f"{path} belongs to {_user(owner)}; {_me()} may not write there", advice)
    _try_file_system(path)
    if owner != os.geteuid():
        return Finding(
            name, Health.WARN, f"{path} belongs to {_user(owner)}, not to {_me()}", "let one user own it all"
        )
    return Finding(name, Health.OK, f"{path}: writable, files can be flushed, linked and renamed")


def _try_file_system(path: Path) -> None:
    """Write, flush, link, rename, remove: what every durable write does. Raises OSError."""
    first = path / f".doctor-{secrets.token_hex(6)}"
    second = first.with_suffix(".linked")
    fd = os.open(first, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, b"millrace doctor")
        os.fsync(fd)
        os.link(first, second)
        os.replace(second, first)
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    finally:
        os.close(fd)
        for left in (first, second):
            with contextlib.suppress(FileNotFoundError):
                left.unlink()


def _space(name: str, path: Path) -> Finding:
    place = next(each for each in (path, *path.parents) if each.exists())
    disk = os.statvfs(place)
    free, whole = disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize
    found = f"{output.size(free)} of {output.size(whole)} free at {place}"
    if disk.f_files and not disk.f_favail:
        return Finding(name, Health.FAIL, f"no inodes are free at {place}", "remove files, or take another file system")
    if free < _LEAST_FREE_BYTES:
        return Finding(name, Health.FAIL, found, "writes are refused: make room")
    if free < _FEW_FREE_BYTES or free < whole * _FEW_FREE_SHARE:
        return Finding(name, Health.WARN, found, "make room before writes are refused")
    return Finding(name, Health.OK, found)


def _limits(settings: Settings) -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = settings.gateway.max_connections + settings.mirror.concurrency * 2 + _SPARE_DESCRIPTORS
    if settings.hot_cache.on_disk:
        needed += settings.hot_cache.open_files
    found = f"{soft} open files allowed (at most {hard}), up to {needed} wanted"
    if soft != resource.RLIM_INFINITY and soft < needed:
        advice = f"set LimitNOFILE={needed} in the unit (ulimit -n), or lower gateway.max_connections"
        return Finding("limits", Health.WARN, found, advice)
    return Finding("limits", Health.OK, found)


def _journal(settings: Settings) -> Finding:
    path = settings.node.data_dir / "journal.db"
    if settings.journal.kind == "sqlite" and not path.exists():
        return Finding("journal", Health.OK, f"{path} does not exist yet: the first start makes it")
    from controlplane.wiring.adapters import open_journal

    async def look() -> Finding:
        journal = await open_journal(settings)
        try:
            stats = await journal.stats()
        finally:
            await journal.aclose()
        used = stats.pending + stats.failed
        found = f"{stats.pending} pending, {stats.failed} failed, of at most {stats.limit}"
        if used >= stats.limit:
            advice = "writes are refused: bring the persistent store back, or raise journal.limit"
            return Finding("journal", Health.FAIL, found, advice)
        if stats.failed:
            return Finding("journal", Health.WARN, found, "see `millrace mirror failed`, then `millrace mirror retry`")
        if used > stats.limit * 0.8:
            return Finding("journal", Health.WARN, found, "nearly full: is the persistent store away?")
        return Finding("journal", Health.OK, found)

    return asyncio.run(look())


def _catalog(settings: Settings) -> Finding:
    path = settings.node.data_dir / "catalog.db"
    if settings.catalog.kind == "sqlite" and not path.exists():
        return Finding("catalog", Health.OK, f"{path} does not exist yet: the first start makes it")
    from controlplane.wiring.adapters import PRIMARY, open_catalog

    async def look() -> Finding:
        catalog = await open_catalog(settings)
        try:
            # A shared catalog may hold a thousand million rows: they are not counted here.
            counts = await catalog.counts(PRIMARY) if settings.catalog.kind == "sqlite" else None
            collisions = await catalog.quarantined()
        finally:
            await catalog.aclose()
        found = "shared by the cluster" if counts is None else f"{sum(counts.values())} blobs known"
        if collisions:
            advice = f"look at quarantine/ in the primary store; the first is {collisions[0].content.md5}"
            return Finding("catalog", Health.WARN, f"{found}, {len(collisions)} MD5 collisions in quarantine", advice)
        return Finding("catalog", Health.OK, found)

    return asyncio.run(look())


def _tokens(settings: Settings) -> Finding:
    from controlplane.settings.tree import Scope

    given = {scope for token in settings.tokens for scope in token.scopes}
    if settings.gateway.anonymous_read:
        given.add(Scope.READ)
    missing = [scope.value for scope in Scope if scope not in given]
    found = f"{len(settings.tokens)} configured"
    short = [token.name for token in settings.tokens if len(token.secret.reveal()) < 16]
    if missing:
        return Finding("tokens", Health.WARN, f"{found}: nobody may {', '.join(missing)}", "add [[tokens]]")
    if short:
        return Finding("tokens", Health.WARN, f"shorter than 16 characters: {', '.join(short)}", "take longer secrets")
    return Finding("tokens", Health.OK, found)


def _certificate(settings: Settings) -> Finding:
    tls = settings.gateway.tls
    assert tls.cert_file is not None
    assert tls.key_file is not None
    names, expires_at = describe_certificate(tls.cert_file, tls.key_file)
    left = expires_at - time.time()
    found = f"{tls.cert_file} for {', '.join(names) or 'no name'}, good for {output.span(left)}"
    if left < _EXPIRES_SOON_S:
        return Finding("certificate", Health.WARN, found, "renew it")
    return Finding("certificate", Health.OK, found)


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def _me() -> str:
    return _user(os.geteuid())
