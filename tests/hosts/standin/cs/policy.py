"""Bucket policies: what is accepted, and the little that they change."""

import ipaddress
import json
from fnmatch import fnmatchcase
from typing import Any

from tests.hosts.standin.cs.answers import S3Error
from tests.hosts.standin.cs.users import User

_NAMES = """
GetObject GetObjectVersion GetObjectAcl GetObjectVersionAcl PutObject PutObjectAcl PutObjectVersionAcl DeleteObject
DeleteObjectVersion ListObjectVersions ListMultipartUploadParts AbortMultipartUpload RestoreObject ListBucket
ListBucketMultipartUploads ListAllMyBuckets CreateBucket DeleteBucket GetBucketAcl PutBucketAcl GetBucketPolicy
PutBucketPolicy DeleteBucketPolicy GetBucketLocation GetBucketVersioning PutBucketVersioning ListBucketVersions *
"""
_ACTIONS = {"*"} | {f"s3:{name}" for name in _NAMES.split()}
_OPERATORS = {"IpAddress", "NotIpAddress", "Bool", "Null"}
_OPERATORS |= {
    f"String{x}" for x in ("Equals", "NotEquals", "EqualsIgnoreCase", "NotEqualsIgnoreCase", "Like", "NotLike")
}
_OPERATORS |= {f"{kind}{x}" for kind in ("Numeric", "Date") for x in ("Equals", "NotEquals", "LessThan", "GreaterThan")}


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def check(raw: bytes, bucket: str) -> str:
    """The text to store. Raises S3Error."""
    try:
        document = json.loads(raw)
        statements = document["Statement"]
        version = document.get("Version", "2008-10-17")
    except (ValueError, TypeError, KeyError):
        raise S3Error("MalformedPolicy") from None
    if version not in ("2008-10-17", "2012-10-17"):
        raise S3Error("MalformedPolicy", message=f"Document is invalid: Invalid Version {version}")
    if not statements:
        raise S3Error("ServiceUnavailable")
    for statement in _listed(statements):
        _check_statement(statement, bucket)
    return raw.decode()


def _check_statement(statement: dict[str, Any], bucket: str) -> None:
    if set(statement.get("Condition", {})) - _OPERATORS:
        raise S3Error("MalformedPolicy")
    for name in ("IpAddress", "NotIpAddress"):
        for network in _listed(statement.get("Condition", {}).get(name, {}).get("aws:SourceIp", [])):
            _check_network(network)
    if any(action not in _ACTIONS for action in _listed(statement.get("Action", []))):
        raise S3Error("MalformedPolicy", message="Policy has invalid action")
    principal = statement.get("Principal")
    if principal != "*" and not (
        isinstance(principal, dict) and (principal.get("AWS") == "*" or "CanonicalUser" in principal)
    ):
        raise S3Error("MalformedPolicy", message="Invalid principal in policy")
    for resource in _listed(statement.get("Resource", "*")):
        if resource != "*" and resource.removeprefix("arn:aws:s3:::").partition("/")[0] != bucket:
            raise S3Error("MalformedPolicy", message="Policy has invalid resource")


def _check_network(text: str) -> None:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise S3Error("MalformedPolicy", message="Policy has invalid condition") from None


def allows(policy: str, user: User | None, action: str, resource: str, peer: str) -> bool:
    """Whether a statement allows the action and none denies it."""
    allowed = False
    for statement in _listed(json.loads(policy)["Statement"]):
        if _applies(statement, user, action, resource, peer):
            if statement["Effect"] == "Deny":
                return False
            allowed = True
    return allowed


def _applies(statement: dict[str, Any], user: User | None, action: str, resource: str, peer: str) -> bool:
    principal = statement.get("Principal")
    named = isinstance(principal, dict) and "CanonicalUser" in principal
    if named and (user is None or user.id not in _listed(principal["CanonicalUser"])):
        return False
    if not any(fnmatchcase(action, pattern) for pattern in _listed(statement["Action"])):
        return False
    wanted = f"arn:aws:s3:::{resource}"
    if not any(fnmatchcase(wanted, pattern) for pattern in _listed(statement.get("Resource", "*"))):
        return False
    return all(_condition(name, block, peer) for name, block in statement.get("Condition", {}).items())


def _condition(name: str, block: dict[str, Any], peer: str) -> bool:
    if name in ("IpAddress", "NotIpAddress"):
        networks = [ipaddress.ip_network(n, strict=False) for n in _listed(block.get("aws:SourceIp", []))]
        inside = any(ipaddress.ip_address(peer) in network for network in networks)
        return inside == (name == "IpAddress")
    if name == "Bool":
        return all(str(value).lower() == "false" for key, value in block.items() if key == "aws:SecureTransport")
    return True
