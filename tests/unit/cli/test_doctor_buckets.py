"""Which buckets doctor asks about, and below which prefix it takes objects for ours."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.cli.doctor_buckets import _stores, checks
from controlplane.settings.secret import Secret
from controlplane.settings.tree import Settings


def settings(buckets: str, target: dict[str, Any], **rule: Any) -> Settings:
    front = {
        "endpoints": ["http://127.0.0.1:2"],
        "admin_urls": ["http://127.0.0.1:3"],
        "admin_key": "K",
        "admin_secret": Secret("S"),
    }
    s3 = {"kind": "s3", "endpoints": ["http://127.0.0.1:1"], "access_key": "K", "secret_key": Secret("S"), **target}
    rules = [{"name": "r", "buckets": buckets, "target": s3, **rule}]
    return Settings.model_validate({"s3": front, "mirror": {"rules": rules}})


@pytest.mark.parametrize(
    ("buckets", "rule", "target", "place"),
    [
        ("photos", "", {"bucket": "far"}, ("far", "photos/")),
        ("photos", "2026/", {"bucket": "far"}, ("far", "photos/2026/")),
        ("photos", "", {"bucket": "far", "prefix": "of/{bucket}/"}, ("far", "of/photos/")),
        ("photos", "", {"bucket": "far-{bucket}"}, ("far-photos", "")),
        ("photos-*", "2026/", {"bucket": "far", "prefix": "of/"}, ("far", "of/")),
        ("photos-?", "", {"bucket": "far", "prefix": "of/{bucket}/x/"}, ("far", "of/")),
        ("photos-*", "", {"bucket": "far-{bucket}"}, None),
    ],
)
def test_the_place_of_a_rules_copies(
    buckets: str, rule: str, target: dict[str, Any], place: tuple[str, str] | None
) -> None:
    found = [(store.bucket, store.prefix) for _, store in _stores(settings(buckets, target, prefix=rule))]
    assert found == ([place] if place else [])


def test_each_is_one_check_that_says_whose_it_is() -> None:
    assert [check.name for check in checks(settings("photos", {"bucket": "far"}), 1)] == ["r target bucket"]
    assert checks(Settings(), 1) == []
