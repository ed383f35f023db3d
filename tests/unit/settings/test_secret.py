"""A secret is read from where it is named, and nothing but reveal() shows it."""

from __future__ import annotations

import copy
import json
import os
import pickle
from typing import TYPE_CHECKING

import pytest
from pydantic import TypeAdapter, ValidationError

from controlplane.settings.secret import ENVIRON, MOST_BYTES, Secret, SecretDocument
from controlplane.settings.tree import Scope, Settings, Token

if TYPE_CHECKING:
    from pathlib import Path

SECRETS = TypeAdapter(Secret)


def read(value: object, **environ: str) -> Secret:
    return SECRETS.validate_python(value, context={ENVIRON: environ})


def refusal(value: object, **environ: str) -> str:
    with pytest.raises(ValidationError) as caught:
        read(value, **environ)
    return caught.value.errors()[0]["msg"]


def private_file(folder: Path, content: bytes, mode: int = 0o600) -> Path:
    path = folder / "secret"
    path.write_bytes(content)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("content", [b"hunter2", b"hunter2\n", b"hunter2\r\n"])
def test_a_file_gives_its_text_without_the_line_end(tmp_path: Path, content: bytes) -> None:
    assert read({"file": str(private_file(tmp_path, content))}).reveal() == "hunter2"


def test_spaces_belong_to_the_secret(tmp_path: Path) -> None:
    assert read({"file": str(private_file(tmp_path, b" a b \n"))}).reveal() == " a b "


def test_a_variable_is_looked_up_in_the_given_environment() -> None:
    assert read({"env": "T"}, T="hunter2").reveal() == "hunter2"


def test_a_file_is_read_again_when_asked(tmp_path: Path) -> None:
    secret = read({"file": str(private_file(tmp_path, b"former\n"))})
    private_file(tmp_path, b"present\n")
    assert secret.reveal() == "former"
    again = secret.reread()
    assert (again.reveal(), again.source) == ("present", secret.source)
    private_file(tmp_path, b"later\n")
    assert again.reread().reveal() == "later"


def test_a_file_that_went_wrong_is_refused_when_it_is_read_again(tmp_path: Path) -> None:
    secret = read({"file": str(private_file(tmp_path, b"former\n"))})
    private_file(tmp_path, b"")
    with pytest.raises(ValueError, match="is empty"):
        secret.reread()


def test_what_comes_from_no_file_stays() -> None:
    assert read({"env": "T"}, T="hunter2").reread().reveal() == "hunter2"


@pytest.mark.parametrize("content", [b"", b"\n", b"  \n"])
def test_an_empty_file_is_refused(tmp_path: Path, content: bytes) -> None:
    assert "is empty" in refusal({"file": str(private_file(tmp_path, content))})


@pytest.mark.parametrize("content", [b"two\nlines", b"a\0b", b"one\n\n"])
def test_a_secret_is_one_line(tmp_path: Path, content: bytes) -> None:
    assert "one line" in refusal({"file": str(private_file(tmp_path, content))})


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    assert "not UTF-8" in refusal({"file": str(private_file(tmp_path, b"\xff\xfe"))})


def test_an_overlong_file_is_refused(tmp_path: Path) -> None:
    assert "longer than" in refusal({"file": str(private_file(tmp_path, b"x" * (MOST_BYTES + 1)))})


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o666])
def test_a_file_open_to_every_user_is_refused_with_the_cure(tmp_path: Path, mode: int) -> None:
    assert "chmod o-rwx" in refusal({"file": str(private_file(tmp_path, b"x", mode))})


def test_a_file_for_a_group_is_accepted(tmp_path: Path) -> None:
    assert read({"file": str(private_file(tmp_path, b"x", 0o640))}).reveal() == "x"


def test_a_pipe_is_refused_and_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    assert "not a regular file" in refusal({"file": str(tmp_path / "pipe")})


@pytest.mark.parametrize(
    ("value", "part"),
    [
        ({"file": "/nonexistent/secret"}, "No such file"),
        ({"file": "/a\0b"}, "cannot read"),
        ({"file": "secret"}, "absolute"),
        ({"env": "UNSET"}, "is not set"),
        ({"env": "EMPTY"}, "is empty"),
        ({"file": "/x", "env": "T"}, "exactly one"),
        ({}, "exactly one"),
        ({"file": 3}, "exactly one"),
        (3, "exactly one"),
    ],
)
def test_faults_say_what_is_wrong(value: object, part: str) -> None:
    assert part in refusal(value, EMPTY="")


def test_a_literal_is_refused_and_not_repeated() -> None:
    with pytest.raises(ValidationError) as caught:
        Token.model_validate({"name": "a", "secret": "hunter2", "scopes": ["read"]})
    assert "file" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_nothing_shows_it() -> None:
    secret = Secret("hunter2", "environment variable T")
    token = Token(name="a", secret=secret, scopes=frozenset({Scope.READ}))
    settings = Settings(tokens=(token,))
    shown = [repr(secret), str(secret), f"{secret}", repr(settings), str(settings), repr(settings.model_dump())]
    shown += [settings.model_dump_json(), json.dumps(settings.model_dump(mode="json")), repr(SECRETS.dump_json(secret))]
    assert not [text for text in shown if "hunter2" in text]
    assert "environment variable T" in repr(secret)
    with pytest.raises(TypeError):
        pickle.dumps(secret)


def test_it_is_a_frozen_value() -> None:
    secret = Secret("hunter2")
    with pytest.raises(AttributeError):
        secret._value = "other"
    with pytest.raises(AttributeError):
        del secret._value
    assert copy.deepcopy(secret) == copy.copy(secret) == Secret("hunter2", "elsewhere") != Secret("other")
    assert secret != "hunter2"
    assert len({secret, Secret("hunter2"), Secret("other")}) == 2


def test_a_document_has_lines_and_is_as_secret(tmp_path: Path) -> None:
    text = '{\n  "private_key": "hunter2"\n}\n'
    documents = TypeAdapter(SecretDocument)
    read_one = documents.validate_python({"file": str(private_file(tmp_path, text.encode()))})
    assert isinstance(read_one, SecretDocument)
    assert json.loads(read_one.reveal()) == {"private_key": "hunter2"}
    assert "hunter2" not in repr(read_one) + str(read_one) + str(documents.dump_python(read_one, mode="json"))
    assert type(read_one.reread()) is SecretDocument
    for content in (b" \n\n", b"a\x00b\n"):
        with pytest.raises(ValidationError):
            documents.validate_python({"file": str(private_file(tmp_path, content))})
    with pytest.raises(ValidationError, match="open to every user"):
        documents.validate_python({"file": str(private_file(tmp_path, text.encode(), mode=0o644))})
