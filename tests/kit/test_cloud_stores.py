"""An inventory chooses the store behind the mirror: settings that load, and the libraries that it needs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from controlplane.settings.load import parse_settings
from tests.kit.conftest import ROOT, load

SECRETS_DIR = "/etc/millrace/secrets"
SERVICE_ACCOUNT = json.dumps(
    {"client_email": "m@example", "private_key": "-----BEGIN-----\n", "token_uri": "https://tokens.example"}, indent=2
)
AZURE = {"kind": "azure", "endpoint": "https://acct.blob.core.windows.net", "bucket": "mirror", "account": "acct"}
GCS = {"kind": "gcs", "bucket": "mirror"}
S3 = {"kind": "s3", "endpoints": ["https://s3.example"], "bucket": "mirror", "access_key": "K"}
RULE = {"buckets": "*"}
FILES = {"kind": "filesystem", "path": "/srv/mirror"}


def evaluated(expression: str, *files: str, **variables: Any) -> Any:
    loader = DataLoader()
    found: dict[str, Any] = {}
    for file in files:
        found |= loader.load_from_file(str(ROOT / file), trusted_as_template=True)
    return Templar(loader=loader, variables=found | variables).template(trust_as_template("{{ " + expression + " }}"))


@pytest.mark.parametrize(("table", "secret"), [(AZURE, "a2V5"), (GCS, SERVICE_ACCOUNT), (S3, "key"), (FILES, "")])
def test_the_table_of_the_inventory_becomes_settings_that_load(
    table: dict[str, Any], secret: str, tmp_path: Path
) -> None:
    mirror = evaluated("__controlplane_mirror", "playbooks/group_vars/all/controlplane.yml", cluster_persistent=table)
    to_toml = load("roles/controlplane/filter_plugins/controlplane_toml.py").to_toml
    text = to_toml({"persistent": mirror})
    assert (f"{SECRETS_DIR}/persistent" in text) is bool(secret)
    file = tmp_path / "persistent"
    file.write_text(secret)
    file.chmod(0o640)
    store = parse_settings(text.replace(f"{SECRETS_DIR}/persistent", str(file)), {}).persistent
    assert store is not None
    assert store.kind == table["kind"]
    if secret:
        named = store.credentials if store.kind == "gcs" else store.secret_key  # type: ignore[union-attr]
        assert named is not None
        assert named.reveal() == secret


@pytest.mark.parametrize(
    ("settings", "files"),
    [
        ({}, ["runtime"]),
        ({"persistent": S3}, ["runtime"]),
        ({"persistent": AZURE}, ["runtime", "extra-azure"]),
        ({"persistent": GCS, "mirror": {"rules": [RULE | {"target": AZURE}]}}, ["runtime", "extra-azure", "extra-gcs"]),
        ({"mirror": {"rules": [RULE | {"target": GCS}, RULE | {"target": FILES}]}}, ["runtime", "extra-gcs"]),
    ],
)
def test_the_libraries_of_the_chosen_kinds_are_installed(settings: dict[str, Any], files: list[str]) -> None:
    role = "roles/controlplane"
    found = evaluated(
        "__controlplane_all_requirements",
        f"{role}/defaults/main.yml",
        f"{role}/vars/main.yml",
        controlplane_settings=settings,
        role_path=str(ROOT / role),
    )
    assert [Path(file).stem for file in found] == files
    assert all(Path(file).is_file() for file in found)


@pytest.mark.parametrize("kind", ["azure", "gcs"])
def test_what_is_installed_is_what_is_tested(kind: str) -> None:
    def pins(name: str) -> set[str]:
        lines = (ROOT / f".ci/lock/{name}.txt").read_text().splitlines()
        return {line.split()[0] for line in lines if "==" in line and not line.startswith((" ", "#"))}

    extra = pins(f"extra-{kind}")
    assert extra
    assert extra <= pins("dev")
    assert not {pin.split("==")[0] for pin in extra} & {pin.split("==")[0] for pin in pins("runtime")}
