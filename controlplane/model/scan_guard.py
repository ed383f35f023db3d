"""Whether a scan may delete at a target (I6): the pure decision.

The source's listing is the only evidence that an object is gone, and listings fail in more ways than objects do. So the
evidence must be whole, it must come from the source that was copied, and what follows from it must be little.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GuardLimits:
    most: int
    """Deletions of one run, in all."""
    share: float
    """Of the copies in a bucket at the target, from 0 to 1: deletions of one run."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a finished scan of one bucket saw. A scan that failed has no evidence, and deletes nothing."""

    listed_at_source: int
    copies_at_target: int
    """Objects that the target lists, without those that no mirror has put there."""
    witnessed: bool
    """The canary: a key of the source's listing, with the very ETag and time that its copy recorded, was asked for just
    now, and the source has it still. It proves that this is the source that was copied, and that it answers."""
    candidates: int
    """Copies whose objects the source has not listed for the grace period."""
    deleted_before: int = 0
    """In this run, in other buckets."""


@dataclass(frozen=True, slots=True)
class Verdict:
    allowed: bool
    reason: str = ""
    """Why not, for the operator."""


def judge(evidence: Evidence, limits: GuardLimits) -> Verdict:
    """All or nothing: a part of a suspicious deletion is no better than the whole."""
    if not evidence.candidates:
        return Verdict(True)
    if not evidence.listed_at_source:
        return Verdict(False, "the source lists nothing at all: an empty listing never deletes")
    if not evidence.witnessed:
        return Verdict(
            False,
            "no key of the source's listing is the one that its copy was made of: is this the Riak CS that was "
            "mirrored?",
        )
    wanted = evidence.candidates
    if evidence.deleted_before + wanted > limits.most:
        return Verdict(
            False,
            f"{wanted} deletions, after {evidence.deleted_before} in this run, are more than the {limits.most} that "
            "are allowed in a run",
        )
    if wanted > limits.share * evidence.copies_at_target:
        return Verdict(
            False,
            f"{wanted} deletions are more than {limits.share:.0%} of the {evidence.copies_at_target} copies in this "
            "bucket",
        )
    return Verdict(True)
