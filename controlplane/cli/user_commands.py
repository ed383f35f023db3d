"""`millrace users create|list|show|disable|enable|rotate`: the users of Riak CS.

A secret is printed only where --secret asks for it, and written only where --secret-file says so.
"""

from __future__ import annotations

import asyncio
import os
from argparse import Namespace
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from controlplane.cli import output, settings_source
from controlplane.cli.exit_codes import CommandFailed, ExitCode, UsageError
from controlplane.ports.errors import NotFound

if TYPE_CHECKING:
    from controlplane.ports.accounts import Account, AccountAdmin, Accounts
    from controlplane.settings.tree import Settings


def create(arguments: Namespace) -> int:
    settings = _settings(arguments)
    if not arguments.name.strip():
        raise UsageError("users create: the name is empty")
    _check_secret_file(arguments)
    account = asyncio.run(_with_admin(settings, lambda admin: admin.create(arguments.name, arguments.email)))
    _tell(account, arguments)
    return ExitCode.OK


def list_users(arguments: Namespace) -> int:
    accounts = asyncio.run(_with_accounts(_settings(arguments), lambda accounts: accounts.all()))
    wanted = [each for each in accounts if arguments.status in (None, _status(each))]
    wanted.sort(key=lambda each: (each.name, each.email))
    if arguments.json:
        output.document([_facts(each) for each in wanted])
    elif wanted:
        rows = [(each.name, each.email, each.keys.access_key, _status(each), str(len(each.buckets))) for each in wanted]
        output.table(("NAME", "E-MAIL", "ACCESS KEY", "STATUS", "BUCKETS"), rows)
    else:
        output.complain("no users")
    return ExitCode.OK


def show(arguments: Namespace) -> int:
    _check_secret_file(arguments)
    settings = _settings(arguments)
    _tell(asyncio.run(_find(settings, arguments.user)), arguments)
    return ExitCode.OK


def disable(arguments: Namespace) -> int:
    return _set_enabled(arguments, enabled=False)


def enable(arguments: Namespace) -> int:
    return _set_enabled(arguments, enabled=True)


def rotate(arguments: Namespace) -> int:
    """A new secret for the same access key; the former one is refused by Riak CS from now on."""
    settings = _settings(arguments)
    _check_secret_file(arguments)
    key = _someone_else(asyncio.run(_find(settings, arguments.user)), settings)
    account = asyncio.run(_with_admin(settings, lambda admin: admin.rotate(key)))
    _tell(account, arguments)
    output.complain(f"gateways take the former secret for at most {settings.s3.secret_cache_s:g} s more")
    return ExitCode.OK


def _set_enabled(arguments: Namespace, *, enabled: bool) -> int:
    settings = _settings(arguments)
    key = _someone_else(asyncio.run(_find(settings, arguments.user)), settings)
    account = asyncio.run(_with_admin(settings, lambda admin: admin.set_enabled(key, enabled)))
    if account.enabled is not enabled:
        raise CommandFailed(f"Riak CS answered, but the user {key} is {_status(account)} all the same")
    if arguments.json:
        output.document(_facts(account))
    else:
        output.line(f"{account.name} ({key}) is {_status(account)}")
    if not enabled:
        output.complain(f"gateways serve this user for at most {settings.s3.secret_cache_s:g} s more")
    return ExitCode.OK


def _someone_else(account: Account, settings: Settings) -> str:
    """The access key; UsageError for the control plane's own user, without which no gateway can look up a caller."""
    key = account.keys.access_key
    if key == settings.s3.admin_key:
        raise UsageError(
            f"{key} is the admin user that the gateways themselves use (s3.admin_key): "
            "change it by the deployment, which gives every node the new secret"
        )
    return key


async def _find(settings: Settings, named: str) -> Account:
    """By access key; else by name, e-mail address or canonical id, which must be one user's alone."""
    accounts = _accounts(settings)
    try:
        try:
            return await accounts.by_key(named)
        except NotFound:
            found = [each for each in await accounts.all() if named in (each.name, each.email, each.id)]
    finally:
        await accounts.aclose()
    if not found:
        raise NotFound(f"no user has the access key, name, e-mail address or id {named!r}: see `millrace users list`")
    if len(found) > 1:
        keys = ", ".join(each.keys.access_key for each in found)
        raise UsageError(f"{named!r} names several users: give one of their access keys: {keys}")
    return found[0]


async def _with_accounts(
    settings: Settings, work: Callable[[Accounts], Awaitable[Sequence[Account]]]
) -> Sequence[Account]:
    accounts = _accounts(settings)
    try:
        return await work(accounts)
    finally:
        await accounts.aclose()


async def _with_admin(settings: Settings, work: Callable[[AccountAdmin], Awaitable[Account]]) -> Account:
    from controlplane.adapters.system_clock import SystemClock
    from controlplane.wiring.riak_cs import build_account_admin

    admin = build_account_admin(settings, SystemClock())
    try:
        return await work(admin)
    finally:
        await admin.aclose()


def _accounts(settings: Settings) -> Accounts:
    from controlplane.adapters.system_clock import SystemClock
    from controlplane.wiring.riak_cs import build_accounts

    return build_accounts(settings, SystemClock())


def _settings(arguments: Namespace) -> Settings:
    settings = settings_source.load(arguments.config)
    s3 = settings.s3
    if not s3.admin_urls or not s3.admin_key or s3.admin_secret is None:
        raise UsageError(
            "the settings name no admin port of Riak CS: set s3.admin_urls, s3.admin_key and s3.admin_secret"
        )
    return settings


def _status(account: Account) -> str:
    return "enabled" if account.enabled else "disabled"


def _facts(account: Account) -> dict[str, Any]:
    return {
        "name": account.name,
        "email": account.email,
        "display_name": account.display_name,
        "access_key": account.keys.access_key,
        "id": account.id,
        "arn": account.arn,
        "status": _status(account),
        "buckets": sorted(account.buckets),
    }


def _tell(account: Account, arguments: Namespace) -> None:
    if arguments.secret_file is not None:
        _write_secret(arguments.secret_file, account.keys.secret_key)
    facts = _facts(account)
    if arguments.secret:
        facts["secret_key"] = account.keys.secret_key
    if arguments.json:
        output.document(facts)
        return
    for name, value in facts.items():
        shown = (", ".join(value) or "-") if isinstance(value, list) else value
        output.line(f"{name.replace('_', ' ') + ':':<14}{shown}")
    if not arguments.secret and arguments.secret_file is None:
        output.complain("the secret is not shown: --secret prints it, --secret-file FILE writes it")


def _check_secret_file(arguments: Namespace) -> None:
    """Before anything is changed: the only copy of a new secret must not be lost for want of a place to write it."""
    if arguments.secret_file is None:
        return
    if os.path.lexists(arguments.secret_file):
        raise UsageError(f"{arguments.secret_file} exists already: name a new file for the secret")
    folder = os.path.dirname(os.path.abspath(arguments.secret_file))
    if not os.access(folder, os.W_OK):
        raise UsageError(f"{folder} is no directory that can be written: name another file for the secret")


def _write_secret(path: str, secret: str) -> None:
    """For its owner's eyes only, from its first moment on."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secret + "\n")
    except OSError as error:
        raise CommandFailed(
            f"the secret could not be written to {path} ({error.strerror}): `millrace users show --secret` prints it"
        ) from error
