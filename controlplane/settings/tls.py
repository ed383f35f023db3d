"""The certificate of a listening port."""

from __future__ import annotations

from pydantic import Field

from controlplane.settings.section import ReadableFile, Section


class Tls(Section):
    """A server certificate; empty: plain HTTP."""

    cert_file: ReadableFile | None = Field(
        None, description="PEM file with the certificate chain", examples=["/etc/millrace/server.pem"]
    )
    key_file: ReadableFile | None = Field(
        None, description="PEM file with the private key", examples=["/etc/millrace/server.key"]
    )
