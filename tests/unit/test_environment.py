"""The environment of the process loses nothing between tests (tests/conftest.py): threads may walk over it."""

from __future__ import annotations

import os

import pytest


def test_a_walk_over_the_environment_may_outlive_a_test(request: pytest.FixtureRequest) -> None:
    names = iter(os.environ)  # as boto3 and dict() do it: all names are taken, then each is asked for
    next(names)
    assert os.environ["PYTEST_CURRENT_TEST"] == f"{request.node.nodeid} (call)"
    # The end of a test, as pytest makes it; this one is said to be the next too, so no fixture ends.
    request.config.pluginmanager.get_plugin("runner").pytest_runtest_teardown(request.node, request.node)
    assert {name: os.environ[name] for name in names}["PYTEST_CURRENT_TEST"] == ""
