"""The policy of a POST Object form: who signed it, and whether the form keeps to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from controlplane.s3.claim import ANY_REGION, Claim, Rules


@dataclass(frozen=True, slots=True)
class Upload:
    """What a form asks for, its policy kept."""

    key: str
    """With ${filename} filled in."""
    min_bytes: int
    max_bytes: int | None
    """content-length-range; to be enforced while the file is read: EntityTooSmall, EntityTooLarge."""


def read_form_claim(fields: Mapping[str, str], now: float, rules: Rules = ANY_REGION) -> Claim | None:
    """The claim of a form; None when it has neither policy nor signature: the upload is anonymous. To be proved by
    `authentication.verify`. Raises S3Fault."""
    raise NotImplementedError


def check_policy(fields: Mapping[str, str], filename: str, bucket: str, now: float) -> Upload:
    """Evaluate the policy of the form, if it has one. Raises S3Fault: AccessDenied (expired, a condition fails, a field
    that no condition covers), InvalidPolicyDocument, UserKeyMustBeSpecified, InvalidArgument."""
    raise NotImplementedError
