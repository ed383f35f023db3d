"""What a server certificate says of itself, asked by a handshake in memory."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

from controlplane.cli.exit_codes import CommandFailed

_ROUNDS = 8


def describe_certificate(cert_file: Path, key_file: Path) -> tuple[list[str], float]:
    """The names it is for, and the Unix second at which it expires.

    Raises CommandFailed when the files cannot be used, do not belong together, or the certificate is not valid now."""
    try:
        server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server_context.load_cert_chain(cert_file, key_file)
        # The certificate itself is all that is trusted: what it says is then told, whoever signed it.
        client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client_context.check_hostname = False
        client_context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        client_context.load_verify_locations(cert_file)
        found = _handshake(client_context, server_context)
    except ssl.SSLCertVerificationError as error:
        raise CommandFailed(f"{cert_file}: {error.verify_message}") from error
    except OSError as error:
        raise CommandFailed(
            f"{cert_file} with {key_file}: {error.strerror or error}: do they belong together?"
        ) from error
    names = [str(name) for kind, name in found.get("subjectAltName", ()) if kind in ("DNS", "IP Address")]
    return names, float(ssl.cert_time_to_seconds(str(found["notAfter"])))


def _handshake(client_context: ssl.SSLContext, server_context: ssl.SSLContext) -> dict[str, Any]:
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(to_client, to_server)
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(_ROUNDS):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            if side is client and (found := client.getpeercert()):
                return found
    raise ssl.SSLError("the handshake does not end")
