#!/usr/bin/env python3
"""Writes when certificates expire, for the node exporter's textfile collector.

Usage: certificates.py TARGET PATTERN... A file may hold a chain and a key: the certificate that expires first counts.
"""

from __future__ import annotations

import glob
import os
import ssl
import subprocess
import sys
import tempfile
from pathlib import Path

BEGIN, END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"


def certificates_in(text: str) -> list[str]:
    """The PEM blocks of certificates."""
    return [BEGIN + part.split(END)[0] + END + "\n" for part in text.split(BEGIN)[1:] if END in part]


def expires_at(path: str) -> float:
    """Unix time of the earliest expiry. Raises OSError and ValueError."""
    blocks = certificates_in(Path(path).read_text(errors="replace"))
    if not blocks:
        raise ValueError("holds no certificate")
    ends = []
    for block in blocks:
        command = ["openssl", "x509", "-noout", "-enddate"]
        done = subprocess.run(command, input=block, text=True, capture_output=True, check=False, timeout=10)
        if done.returncode:
            raise ValueError(done.stderr.strip())
        ends.append(float(ssl.cert_time_to_seconds(done.stdout.strip().partition("=")[2])))
    return min(ends)


def escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def exposition(patterns: list[str]) -> str:
    """A pattern without a file counts as a file that cannot be read: its absence is a failure to act on."""
    expiry, readable = [], []
    for pattern in patterns:
        for path in sorted(glob.glob(pattern)) or [pattern]:
            label = f'{{path="{escaped(path)}"}}'
            try:
                expiry.append(f"millrace_certificate_expires_timestamp_seconds{label} {expires_at(path):.0f}")
                readable.append(f"millrace_certificate_readable{label} 1")
            except (OSError, ValueError, subprocess.SubprocessError) as error:
                print(f"{path}: {error}", file=sys.stderr)
                readable.append(f"millrace_certificate_readable{label} 0")
    lines = [
        "# HELP millrace_certificate_expires_timestamp_seconds When the first certificate of the file expires.",
        "# TYPE millrace_certificate_expires_timestamp_seconds gauge",
        *expiry,
        "# HELP millrace_certificate_readable 1 when the file holds certificates.",
        "# TYPE millrace_certificate_readable gauge",
        *readable,
    ]
    return "\n".join(lines) + "\n"


def write_whole(target: str, text: str) -> None:
    """The collector must never read half a file."""
    with tempfile.NamedTemporaryFile("w", dir=os.path.dirname(target), prefix=".", delete=False) as file:
        file.write(text)
        os.fchmod(file.fileno(), 0o644)
    os.replace(file.name, target)


if __name__ == "__main__":
    write_whole(sys.argv[1], exposition(sys.argv[2:]))
