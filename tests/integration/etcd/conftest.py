"""Fixtures of the tests on real etcd members."""

from __future__ import annotations

import uuid

import pytest


@pytest.fixture
def service() -> str:
    return f"s{uuid.uuid4().hex[:12]}"
