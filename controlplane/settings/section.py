"""The base of every table of the settings, and what its fields hold."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError


class Section(BaseModel):
    """A table: frozen, and closed to unknown keys. Its errors never show what was given, which may be a secret."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False, hide_input_in_errors=True
    )


def fault(message: str) -> PydanticCustomError:
    return PydanticCustomError("setting", "{message}", {"message": message})


def _absolute(path: Path) -> Path:
    if not path.is_absolute() or "\0" in str(path):
        raise fault(f"must be an absolute path, not {str(path)!r}: a daemon has no working directory of its own")
    return path


def _readable(path: Path) -> Path:
    path = _absolute(path)
    if not path.exists():
        raise fault(f"there is no file {path}")
    if not path.is_file():
        raise fault(f"{path} is not a regular file")
    if not os.access(path, os.R_OK):
        raise fault(f"this user may not read {path}")
    return path


def _url(text: str) -> str:
    # The text is never repeated in a message: it may hold a password.
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not text.isprintable() or not text.isascii() or " " in text:
        raise fault("must be an http:// or https:// URL with a host")
    if parts.username is not None or parts.password is not None:
        raise fault("must not hold a user name or password: there are settings for these")
    if "?" in text or "#" in text:
        raise fault("must not hold a query or a fragment")
    return text.rstrip("/")


def _optional_url(text: str) -> str:
    return _url(text) if text else text


def _base_url(text: str) -> str:
    text = _url(text)
    if urlsplit(text).path:
        raise fault("must end after host and port: a path is not supported")
    return text


Seconds = Annotated[float, Field(gt=0, le=86_400 * 366)]
Bytes = Annotated[int, Field(ge=0, le=2**62)]
Port = Annotated[int, Field(ge=0, le=65_535)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
AbsolutePath = Annotated[Path, AfterValidator(_absolute)]
ReadableFile = Annotated[Path, AfterValidator(_readable)]
"""A file that must exist, and that this process may read, when the settings are loaded."""
OptionalUrl = Annotated[str, AfterValidator(_optional_url)]
"""An http or https URL, or nothing; a trailing slash is dropped."""
Url = Annotated[str, AfterValidator(_url)]
"""An http or https URL, which may have a path; a trailing slash is dropped."""
BaseUrl = Annotated[str, AfterValidator(_base_url)]
"""A URL without a path; a trailing slash is dropped."""
