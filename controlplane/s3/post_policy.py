"""The policy of a POST Object form: who signed it, and whether the form keeps to it.

Source: AWS, "Browser-Based Uploads Using POST". Names of fields and operators are compared without regard to case.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from controlplane.s3.claim import ANY_REGION, UNDECLARED, Claim, Rules, Scheme
from controlplane.s3.claim_v4 import check_scope, read_credential
from controlplane.s3.dates import MalformedDate, parse_timestamp
from controlplane.s3.fault import Code, S3Fault

_V4_FIELDS: Final = ("policy", "x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-signature")
_V2_FIELDS: Final = ("policy", "awsaccesskeyid", "signature")
_UNBOUND: Final = frozenset({"awsaccesskeyid", "policy", "signature", "x-amz-signature"})
"""Fields that no condition needs to cover; and those that begin with x-ignore-."""
_V4_SIGNATURE: Final = re.compile(r"[0-9a-f]{64}\Z")
_V2_SIGNATURE: Final = re.compile(r"[A-Za-z0-9+/]{27}=\Z", re.ASCII)
_ESCAPED_DOLLAR: Final = re.compile(r"(?<!\\)((?:\\\\)*)\\\$")
_MAX_BYTES: Final = 10**18


@dataclass(frozen=True, slots=True)
class Upload:
    """What a form asks for, its policy kept."""

    key: str
    """With ${filename} filled in."""
    min_bytes: int
    max_bytes: int | None
    """content-length-range; to be enforced while the file is read: EntityTooSmall, EntityTooLarge."""


# -- who signed --------------------------------------------------------------------------------------------------------


def read_form_claim(fields: Mapping[str, str], rules: Rules = ANY_REGION) -> Claim | None:
    """The claim of a form; None when it has neither policy nor signature: the upload is anonymous. To be proved by
    `authentication.verify`. The policy's own expiration bounds its time: check_policy() looks at it.

    Raises S3Fault: InvalidArgument for a field that is missing or malformed.
    """
    v4 = [name for name in _V4_FIELDS if name != "policy" and name in fields]
    v2 = [name for name in _V2_FIELDS if name != "policy" and name in fields]
    if v4 and v2:
        raise _bad_field(v2[0], "a form is signed by SigV4 or by SigV2, not by both.")
    if not v4 and not v2 and "policy" not in fields:
        return None
    for name in _V2_FIELDS if v2 else _V4_FIELDS:
        if not fields.get(name):
            raise _bad_field(name, "it is needed in a form that is signed.")
    policy = fields["policy"]
    if not policy.isascii():
        raise S3Fault(Code.INVALID_POLICY_DOCUMENT, "The policy must be base64.")
    token = fields.get("x-amz-security-token")
    if v2:
        if _V2_SIGNATURE.match(fields["signature"]) is None:
            raise S3Fault(Code.SIGNATURE_DOES_NOT_MATCH, "The signature of the form is no base64 of 20 bytes.")
        return Claim(
            Scheme.V2_FORM, fields["awsaccesskeyid"], fields["signature"], UNDECLARED, (policy,), session_token=token
        )
    if fields["x-amz-algorithm"] != "AWS4-HMAC-SHA256":
        raise _bad_field("x-amz-algorithm", "it must be AWS4-HMAC-SHA256.")
    access_key, scope = read_credential(fields["x-amz-credential"].encode(), Code.INVALID_ARGUMENT)
    check_scope(scope, rules, Code.INVALID_ARGUMENT)
    timestamp = fields["x-amz-date"]
    if timestamp[:8] != scope.date:
        raise _bad_field("x-amz-date", "its day must be that of x-amz-credential.")
    if _V4_SIGNATURE.match(fields["x-amz-signature"]) is None:
        raise S3Fault(Code.SIGNATURE_DOES_NOT_MATCH, "The signature of the form must have 64 lower-case hex digits.")
    return Claim(
        Scheme.V4_FORM,
        access_key,
        fields["x-amz-signature"],
        UNDECLARED,
        (policy,),
        session_token=token,
        scope=scope,
        timestamp=timestamp,
    )


def _bad_field(name: str, why: str) -> S3Fault:
    return S3Fault(
        Code.INVALID_ARGUMENT,
        f"The form's field {name}: {why}",
        extra=(("ArgumentName", name), ("ArgumentValue", "")),
    )


# -- what is allowed -----------------------------------------------------------------------------------------------


def check_policy(fields: Mapping[str, str], filename: str, bucket: str, now: float) -> Upload:
    """Evaluate the policy of the form, if it has one.

    Raises S3Fault: AccessDenied (expired, a condition fails, a field that no condition covers), InvalidPolicyDocument,
    UserKeyMustBeSpecified.
    """
    key = fields.get("key", "").replace("${filename}", filename)
    if not key:
        raise S3Fault(Code.USER_KEY_MUST_BE_SPECIFIED)
    if "policy" not in fields:
        return Upload(key, 0, None)
    policy = _document(fields["policy"])
    _check_expiration(policy, now)
    conditions = policy.get("conditions")
    if not isinstance(conditions, list):
        _invalid("it has no list of conditions.")
    form = {**fields, "key": key, "bucket": bucket}
    covered = set(_UNBOUND)
    smallest, largest = 0, _MAX_BYTES
    ranged = False
    for condition in conditions:
        operator, name, wanted = _read(condition)
        if operator == "content-length-range":
            ranged = True
            smallest, largest = max(smallest, _number(name)), min(largest, _number(wanted))
            continue
        covered.add(name)
        if not _holds(operator, name, wanted, form.get(name, "")):
            _deny(f'the condition ["{operator}", "${name}", "{wanted}"] does not hold.')
    extra = sorted(name for name in form if name not in covered and not name.startswith("x-ignore-"))
    if extra:
        _deny(f"no condition covers the fields {', '.join(extra)}.")
    return Upload(key, smallest, largest if ranged else None)


def _document(encoded: str) -> dict[str, Any]:
    try:
        text = b64decode(encoded, validate=True).decode()
        # A dollar sign may be escaped in policies, which JSON does not know.
        policy = json.loads(_ESCAPED_DOLLAR.sub(r"\1$", text))
    except (Base64Error, ValueError, RecursionError) as error:
        raise S3Fault(Code.INVALID_POLICY_DOCUMENT, "The policy must be the base64 of a JSON document.") from error
    if not isinstance(policy, dict):
        _invalid("it must be a JSON object.")
    return policy


def _check_expiration(policy: Mapping[str, Any], now: float) -> None:
    expiration = policy.get("expiration")
    if not isinstance(expiration, str):
        _invalid("it has no expiration.")
    try:
        end = parse_timestamp(expiration)
    except MalformedDate:
        _invalid("its expiration must be a date of the form YYYY-MM-DDThh:mm:ss.sssZ.")
    if now > end:
        _deny("it has expired.")


def _read(condition: object) -> tuple[str, str, str]:
    """Operator, name of the field (without $, in lower case) and value; of content-length-range both bounds."""
    if isinstance(condition, dict) and len(condition) == 1:
        name, wanted = next(iter(condition.items()))
        if isinstance(wanted, str):
            return "eq", name.lower(), wanted
    if isinstance(condition, list) and len(condition) == 3 and isinstance(condition[0], str):
        operator, name, wanted = condition[0].lower(), condition[1], condition[2]
        if operator == "content-length-range":
            return operator, str(name), str(wanted)
        if operator in ("eq", "starts-with") and isinstance(wanted, str) and isinstance(name, str) and name[:1] == "$":
            return operator, name[1:].lower(), wanted
    return _invalid('a condition reads {"name": "value"}, ["eq" or "starts-with", "$name", "value"] or '
                    '["content-length-range", min, max].')  # fmt: skip


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        _invalid("the bounds of content-length-range must be numbers of bytes.")
    return int(text)


def _holds(operator: str, name: str, wanted: str, value: str) -> bool:
    if operator == "eq":
        return value == wanted
    if name == "content-type" and "," in value:
        # Each of several content types must begin so.
        return all(part.strip().startswith(wanted) for part in value.split(","))
    return value.startswith(wanted)


def _invalid(why: str) -> NoReturn:
    raise S3Fault(Code.INVALID_POLICY_DOCUMENT, f"The policy is invalid: {why}")


def _deny(why: str) -> NoReturn:
    raise S3Fault(Code.ACCESS_DENIED, f"The form does not keep to its policy: {why}")
