"""The command line: what is accepted, what it costs to start, and how every failure ends."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from controlplane.cli import main as entry
from controlplane.cli.exit_codes import MEANINGS, CommandFailed, ExitCode, Terminated, exit_code_of
from controlplane.cli.main import main
from controlplane.cli.parser import build_parser
from controlplane.ports import errors
from tests.support.secret_file import secret_file

HEAVY = ("pydantic", "boto3", "rich", "aiohttp", "uvloop", "asyncio", "ssl", "http.client")


def test_help_costs_less_than_150_ms_of_cpu() -> None:
    """The least of several runs: the machine's noise only adds."""
    spent = [1.0]
    while min(spent) >= 0.150 and len(spent) < 20:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "controlplane.cli.main", "--help"], check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(spent) < 0.150


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys, controlplane.cli.main as m\n"
        "try: m.main(['--help'])\n"
        "except SystemExit: pass\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    ran = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert ran.stderr.strip() == "[]"
    assert "exit codes:" in ran.stdout


def test_help_and_the_document_name_every_exit_code() -> None:
    text = build_parser().format_help()
    document = (Path(__file__).parents[3] / "docs" / "commands.md").read_text()
    assert set(MEANINGS) == set(ExitCode)
    for code, meaning in MEANINGS.items():
        assert f"{code.value:>3}  {meaning}" in text
        assert f"| {code.value} | {meaning} |" in document


def test_every_command_leads_to_a_function() -> None:
    """A command that names a module or a function that is not there would fail only when it is used."""
    import importlib

    for argv in (
        ["dev"],
        ["gateway"],
        ["agent"],
        ["blob", "put", "f"],
        ["blob", "get", "g"],
        ["blob", "rm", "g"],
        ["blob", "stat", "g"],
        ["mirror", "status"],
        ["mirror", "failed"],
        ["mirror", "retry", "--all"],
        ["endpoints", "list"],
        ["endpoints", "watch"],
        ["check-config", "f"],
        ["example-config"],
        ["doctor"],
        ["version"],
    ):
        module, _, function = build_parser().parse_args(argv).run.partition(":")
        assert callable(getattr(importlib.import_module(module), function)), argv


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["nonsense"],
        ["blob"],
        ["blob", "put"],
        ["dev", "--port", "65536"],
        ["dev", "--port", "-1"],
        ["blob", "get", "g", "--wait", "-1"],
        ["blob", "get", "g", "--wait", "nan"],
        ["blob", "get", "g", "--timeout", "0"],
        ["mirror", "retry", "one"],
        ["blob", "get", "g", "--tok", "x"],
    ],
)
def test_a_wrong_command_line_exits_with_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exited:
        main(argv)
    assert exited.value.code == ExitCode.USAGE
    assert "usage:" in capsys.readouterr().err


def test_no_option_takes_a_token_itself() -> None:
    """Everybody on the machine can read the arguments of a process."""
    for argv in (["blob", "put", "f", "--token", "x"], ["blob", "get", "g", "--token=x"]):
        with pytest.raises(SystemExit):
            build_parser().parse_args(argv)


@pytest.mark.parametrize(
    "argv",
    [
        ["blob", "get"],
        ["blob", "get", "0" * 32, "--sha256", "0" * 64],
        ["blob", "get", "xyz", "-o", "f"],
        ["blob", "stat", "--sha256", "00"],
        ["blob", "put", "--guid", "0" * 32, "a", "b"],
        ["blob", "put", "-", "-"],
        ["blob", "put", "a", "--content-type", "a\nb"],
        ["blob", "stat", "0" * 32, "--url", "ftp://host"],
        ["blob", "stat", "0" * 32, "--url", "http://user:secret@host"],
        ["blob", "stat", "0" * 32, "--url", "http://host:port"],
        ["mirror", "retry"],
        ["mirror", "retry", "1", "--all"],
        ["dev", "--config", "f", "--port", "1"],
        ["endpoints", "list", "--config", "/nonexistent.toml"],
        ["gateway", "--config", "/nonexistent.toml"],
    ],
)
def test_a_command_line_that_makes_no_sense_exits_with_2_and_one_line(
    argv: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == ExitCode.USAGE
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("millrace: ")
    assert captured.err.count("\n") == 1
    assert "secret@" not in captured.err


def test_without_any_gateway_the_message_says_how_to_name_one(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("controlplane.cli.settings_source.SYSTEM_FILE", tmp_path / "none")
    monkeypatch.delenv("MILLRACE_URL", raising=False)
    monkeypatch.delenv("MILLRACE_CONFIG", raising=False)
    assert main(["blob", "stat", "0" * 32]) == ExitCode.USAGE
    assert "--url or MILLRACE_URL" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.NotFound("x"), 3),
        (errors.Unavailable("x"), 4),
        (errors.Full("x"), 4),
        (errors.StorageFull("x"), 4),
        (errors.Conflict("x"), 5),
        (errors.Rejected("x"), 5),
        (errors.Corrupt("x"), 6),
        (errors.MillraceError("x"), 1),
        (CommandFailed("x", ExitCode.CORRUPT), 6),
        (OSError(2, "No such file"), 1),
        (ZeroDivisionError(), 1),
        (KeyboardInterrupt(), 130),
        (Terminated(), 143),
    ],
)
def test_every_error_has_its_exit_code_and_no_traceback(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(_arguments: object) -> int:
        raise error

    monkeypatch.delenv("MILLRACE_DEBUG", raising=False)
    monkeypatch.setattr("controlplane.cli.config_commands.version", fail)
    assert exit_code_of(error) == code
    assert main(["version"]) == code
    captured = capfd.readouterr()
    assert "Traceback" not in captured.err
    assert captured.err.count("\n") == (0 if code >= 128 else 1)


def test_debugging_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_arguments: object) -> int:
        raise ZeroDivisionError

    monkeypatch.setenv("MILLRACE_DEBUG", "1")
    monkeypatch.setattr("controlplane.cli.config_commands.version", fail)
    with pytest.raises(ZeroDivisionError):
        main(["version"])


def test_the_signal_handler_of_the_caller_comes_back() -> None:
    import signal

    before = signal.getsignal(signal.SIGTERM)
    main(["version"])
    assert signal.getsignal(signal.SIGTERM) is before
    assert entry.main is main


def test_check_config_names_file_line_and_path_of_every_fault(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "m.toml"
    file.write_text("[gateway]\nport = 99999\nprot = 3\n\n[node]\ndata_dir = 'here'\n")
    monkeypatch.setenv("MILLRACE__JOURNAL__LIMIT", "none")
    assert main(["check-config", str(file)]) == ExitCode.USAGE
    lines = capfd.readouterr().err.splitlines()
    assert [line.split(": ")[:2] for line in lines] == [
        [f"{file}:2", "gateway.port"],
        [f"{file}:3", "gateway.prot"],
        [f"{file}:6", "node.data_dir"],
        ["MILLRACE__JOURNAL__LIMIT", "journal.limit"],
    ]


def test_check_config_shows_the_tree_without_secrets(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    secret = secret_file(tmp_path / "secret", "swordfish-swordfish\n")
    file = tmp_path / "m.toml"
    file.write_text(f"[[tokens]]\nname = 't'\nsecret = {{ file = '{secret}' }}\nscopes = ['read']\n")
    assert main(["check-config", str(file)]) == ExitCode.OK
    assert main(["check-config", "--show", str(file)]) == ExitCode.OK
    out = capfd.readouterr().out
    assert "swordfish" not in out
    shown = json.loads(out.partition("\n")[2])
    assert shown["gateway"]["port"] == 8470
    assert shown["tokens"][0]["name"] == "t"


def test_the_example_is_a_settings_file(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["example-config"]) == ExitCode.OK
    file = tmp_path / "m.toml"
    file.write_text(capfd.readouterr().out)
    assert main(["check-config", str(file)]) == ExitCode.OK
