"""A secret of the settings: named by file or environment variable, read at load time, never printed."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Any, NoReturn

from pydantic_core import PydanticCustomError, core_schema

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic.json_schema import JsonSchemaValue

MOST_BYTES = 64 * 1024
"""A longer file is not a secret but a mistake."""

ENVIRON = "environ"
"""Key of the validation context that holds the environment; without it, this process's own is read."""

_FORM = 'write { file = "/path" } or { env = "NAME" }'


class Secret:
    """A value that neither repr, str, JSON nor a dump shows. Only `reveal` does.

    In the settings it is `{ file = "/path" }` or `{ env = "NAME" }`; a literal is refused, since settings files are
    copied, committed and shown. One trailing line end of a file is not part of the secret.
    """

    __slots__ = ("_path", "_source", "_value")
    _value: str
    _source: str
    _path: str

    def __init__(self, value: str, source: str = "given by the program", path: str = "") -> None:
        """`path`: of the file it was read from; empty when from none."""
        object.__setattr__(self, "_value", value)
        object.__setattr__(self, "_source", source)
        object.__setattr__(self, "_path", path)

    def reveal(self) -> str:
        return self._value

    def reread(self) -> Secret:
        """What its file holds now; itself when it came from none: a process's environment does not change.

        Raises ValueError, which says what is wrong with the file.
        """
        return type(self)(self._read_file(self._path), self._source, self._path) if self._path else self

    @property
    def source(self) -> str:
        """Where it was read from, for people."""
        return self._source

    def __repr__(self) -> str:
        return f"<secret: {self._source}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(("Secret", self._value))

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a secret is frozen: {name} cannot be set")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a secret is frozen: {name} cannot be deleted")

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: object) -> Secret:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled")

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.with_info_plain_validator_function(
            cls._validate, serialization=core_schema.plain_serializer_function_ser_schema(repr, when_used="json")
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        one = {"type": "string"}
        return {
            "oneOf": [
                {"type": "object", "properties": {way: one}, "required": [way], "additionalProperties": False}
                for way in ("file", "env")
            ]
        }

    @classmethod
    def _validate(cls, value: object, info: core_schema.ValidationInfo) -> Secret:
        match value:
            case Secret():
                return value
            case {"file": str(path), **rest} if not rest:
                return cls(cls._read_file(path), f"file {path}", path)
            case {"env": str(name), **rest} if not rest:
                environ = (info.context or {}).get(ENVIRON, os.environ)
                return cls(cls._read_variable(name, environ), f"environment variable {name}")
            case str():
                raise _fault(f"a secret is not written into the settings, where it would be copied and shown: {_FORM}")
            case _:
                raise _fault(f"a secret names exactly one place: {_FORM}")

    @classmethod
    def _read_file(cls, path: str) -> str:
        return cls._checked(_text_of(path).removesuffix("\n").removesuffix("\r"), path)

    @classmethod
    def _read_variable(cls, name: str, environ: Mapping[str, str]) -> str:
        if name not in environ:
            raise _fault(f"the environment variable {name!r} is not set")
        return cls._checked(environ[name], f"the environment variable {name!r}")

    @classmethod
    def _checked(cls, text: str, where: str) -> str:
        if not text.strip():
            raise _fault(f"{where} is empty")
        if not text.isprintable():
            raise _fault(f"{where} holds a line break or another character that is not printable: a secret is one line")
        return text


class SecretDocument(Secret):
    """A secret of several lines, such as a key in JSON."""

    __slots__ = ()

    @classmethod
    def _checked(cls, text: str, where: str) -> str:
        super()._checked("".join(text.split()), where)
        return text


def _fault(message: str) -> PydanticCustomError:
    return PydanticCustomError("secret", "{message}", {"message": message})


def _text_of(path: str) -> str:
    if not os.path.isabs(path):
        raise _fault(f"the path of a secret must be absolute, not {path!r}")
    try:
        # O_NONBLOCK: a named pipe must not hang the start; it is refused below.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:
            mode = os.fstat(descriptor).st_mode
            if not stat.S_ISREG(mode):
                raise _fault(f"{path} is not a regular file")
            if mode & 0o007:
                raise _fault(f"{path} is open to every user (mode {stat.S_IMODE(mode):04o}): run chmod o-rwx {path}")
            raw = file.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise _fault(f"cannot read the file {path!r}: {reason}") from error
    if len(raw) > MOST_BYTES:
        raise _fault(f"{path} is longer than {MOST_BYTES} bytes: is it the right file?")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise _fault(f"{path} is not UTF-8 text") from error
