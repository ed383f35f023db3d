"""Requests that no client sends, through a real gateway: every one has an answer, and none is an internal error."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from typing import Final

import pytest

from tests.integration.s3_gateway.odd_requests import odd_request
from tests.integration.s3_gateway.wire import Answer, Wire

REQUESTS: Final = int(os.environ.get("MILLRACE_FUZZ_REQUESTS", "600"))
SEEDS: Final = int(os.environ.get("MILLRACE_FUZZ_SEEDS", "2"))


def in_order(answer: Answer, method: str) -> bool:
    if answer.status in (500, 502, 503, 504):
        return False
    # What is refused says so in a document, but for HEAD.
    return answer.status < 400 or method == "HEAD" or bool(answer.code)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_every_request_has_an_answer_and_none_an_internal_error(
    wire: Wire, new_bucket: Callable[[], str], seed: int
) -> None:
    """More of them: MILLRACE_FUZZ_SEEDS=20 MILLRACE_FUZZ_REQUESTS=4000."""
    dice = random.Random(seed)
    bucket, wrong = new_bucket(), []
    for number in range(REQUESTS):
        method, target, body, headers, payload = odd_request(dice, bucket)
        asker = wire.as_(None) if dice.random() < 0.15 else wire
        what = (seed, number, method, target[:200], headers, payload, body[:120], asker.user is None)
        try:
            answer = asker.ask(method, target, body, headers, sha256=payload)
        except (ConnectionError, TimeoutError) as error:
            wrong.append((what, repr(error)))
            continue
        if not in_order(answer, method):
            wrong.append((what, repr(answer)))
        if number % 20 == 0:  # the dice may have deleted it
            wire.ask("PUT", f"/{bucket}")
            wire.ask("PUT", f"/{bucket}/k", b"data")
    assert not wrong, "\n".join(map(str, wrong))
