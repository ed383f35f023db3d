"""`millrace blob put|get|rm|stat`."""

from __future__ import annotations

import sys
from argparse import Namespace
from contextlib import closing

from controlplane.cli import output
from controlplane.cli.blob_client import BlobClient, Described, Stored
from controlplane.cli.blob_files import STANDARD, FileSource, FileTarget, StandardOutput
from controlplane.cli.exit_codes import CommandFailed, ExitCode, UsageError, exit_code_of
from controlplane.cli.gateways import open_client
from controlplane.cli.progress import meter
from controlplane.model.content import Guid, MalformedDigest, Sha256, parse_guid, parse_sha256
from controlplane.ports.errors import MillraceError, Unavailable


def put(arguments: Namespace) -> int:
    """A line for each file as soon as it is acknowledged. A file that fails stops no other, an outage does."""
    if arguments.guid is not None and len(arguments.files) != 1:
        raise UsageError("--guid names one blob: give one file")
    if arguments.files.count(STANDARD) > 1:
        raise UsageError("standard input can be read only once: give - once")
    if not arguments.content_type.isascii() or not arguments.content_type.isprintable():
        raise UsageError(f"--content-type: {arguments.content_type!r} is not a media type")
    guid = _guid(arguments.guid) if arguments.guid is not None else None
    worst = ExitCode.OK
    with closing(open_client(arguments)) as client:
        for name in arguments.files:
            try:
                stored = _put_one(client, name, guid, arguments)
            except Unavailable:
                raise
            except (CommandFailed, MillraceError) as error:
                output.error(str(error) if isinstance(error, CommandFailed) else f"{name}: {error}")
                worst = worst or exit_code_of(error)
            else:
                _tell(stored, name, as_json=arguments.json)
    return worst


def _put_one(client: BlobClient, name: str, guid: Guid | None, arguments: Namespace) -> Stored:
    with FileSource(name) as source, meter(name, source.size, quiet=arguments.quiet) as shown:
        return client.put(source, content_type=arguments.content_type, guid=guid, moved=shown.moved)


def _tell(stored: Stored, name: str, *, as_json: bool) -> None:
    content = stored.content
    if as_json:
        facts = {"guid": content.md5, "sha256": content.sha256, "size": content.size}
        output.record({**facts, "file": name, "created": stored.created})
    else:
        output.line(f"{content.md5}  {content.size}  {name}")


def get(arguments: Namespace) -> int:
    """0 only when both digests matched; a file appears only then."""
    guid, sha256 = _which(arguments)
    to_file = arguments.output is not None and arguments.output != STANDARD
    if not to_file and arguments.output is None and sys.stdout.isatty():
        raise UsageError("the blob would go to the terminal: give -o FILE, or -o - to have it so")
    with (
        closing(open_client(arguments)) as client,
        meter(guid or sha256 or "", None, quiet=arguments.quiet) as shown,
        FileTarget(arguments.output) if to_file else StandardOutput() as sink,
    ):
        client.get(sink, guid=guid, sha256=sha256, moved=shown.moved, expect=shown.expect)
    return ExitCode.OK


def rm(arguments: Namespace) -> int:
    """Every GUID is tried, except after an outage."""
    guids = [_guid(text) for text in arguments.guids]
    worst = ExitCode.OK
    with closing(open_client(arguments)) as client:
        for guid in guids:
            try:
                client.delete(guid)
            except Unavailable:
                raise
            except MillraceError as error:
                output.error(f"{guid}: {error}")
                worst = worst or exit_code_of(error)
    return worst


def stat(arguments: Namespace) -> int:
    guid, sha256 = _which(arguments)
    with closing(open_client(arguments)) as client:
        found = client.stat(guid=guid, sha256=sha256)
    facts = _facts(found)
    if arguments.json:
        output.document(facts)
    else:
        for name, value in facts.items():
            output.line(f"{name + ':':<13} {value}")
    return ExitCode.OK


def _facts(found: Described) -> dict[str, str | int]:
    content = found.content
    return {
        "guid": content.md5,
        "sha256": content.sha256,
        "size": content.size,
        "content_type": found.content_type,
    }


def _which(arguments: Namespace) -> tuple[Guid | None, Sha256 | None]:
    if (arguments.guid is None) == (arguments.sha256 is None):
        raise UsageError("name the blob: either GUID or --sha256 HEX")
    if arguments.guid is not None:
        return _guid(arguments.guid), None
    try:
        return None, parse_sha256(arguments.sha256.lower())
    except MalformedDigest as error:
        raise UsageError(str(error)) from error


def _guid(text: str) -> Guid:
    try:
        return parse_guid(text.lower())
    except MalformedDigest as error:
        raise UsageError(str(error)) from error
