"""Users and buckets as records in KV."""

import hashlib
import random
import secrets
import string
import time
from dataclasses import asdict, dataclass, field
from typing import Any
from xml.sax.saxutils import escape

from tests.hosts.standin.cs.kv_client import KvClient

USERS, BUCKETS, EMAILS = "moss.users", "moss.buckets", "moss.emails"
_KEY_CHARACTERS = string.ascii_uppercase + string.digits


@dataclass
class User:
    name: str
    email: str
    key_id: str
    key_secret: str
    id: str
    arn: str
    created: int
    status: str = "enabled"
    buckets: list[dict[str, Any]] = field(default_factory=list)
    policies: list[str] = field(default_factory=list)

    @property
    def display_name(self) -> str:
        return self.email.partition("@")[0]

    def to_json(self) -> dict[str, Any]:
        return {
            "arn": self.arn,
            "path": "/",
            "create_date": self.created,
            "password_last_used": None,
            "permissions_boundary": None,
            "tags": [],
            "attached_policies": self.policies,
            "name": self.name,
            "display_name": self.display_name,
            "email": self.email,
            "key_id": self.key_id,
            "key_secret": self.key_secret,
            "id": self.id,
            "buckets": [
                {
                    "name": b["name"],
                    "last_action": "created",
                    "creation_date": b["created"],
                    "modification_time": b["created"],
                    "acl": None,
                }
                for b in self.buckets
            ],
            "status": self.status,
        }

    def to_xml(self) -> str:
        rows = (
            ("Email", self.email),
            ("DisplayName", self.display_name),
            ("Path", self.name),
            ("Name", self.name),
            ("KeyId", self.key_id),
            ("KeySecret", self.key_secret),
            ("Id", self.id),
            ("Status", self.status),
        )
        return "<User>" + "".join(f"<{tag}>{escape(value)}</{tag}>" for tag, value in rows) + "</User>"


def new_secret() -> str:
    return secrets.token_urlsafe(30)[:40]


def now_ms() -> int:
    return int(time.time() * 1000)


def create(name: str, email: str) -> User:
    key_id = "".join(random.choices(_KEY_CHARACTERS, k=20))
    canonical = hashlib.sha256(f"{key_id}{email}{time.time()}".encode()).hexdigest()
    account = "".join(random.choices(string.digits, k=12))
    return User(name, email, key_id, new_secret(), canonical, f"arn:aws:iam::{account}:user/{name}", now_ms())


class Users:
    def __init__(self, kv: KvClient) -> None:
        self._kv = kv

    def get(self, key_id: str) -> User | None:
        record, _ = self._kv.read(USERS, key_id) if key_id else (None, {})
        return User(**record) if record else None

    def all(self) -> list[User]:
        return [User(**record) for _, record in self._kv.records(USERS)]

    def by_id(self, canonical: str) -> User | None:
        return next((u for u in self.all() if u.id == canonical), None)

    def by_email(self, email: str) -> User | None:
        record, _ = self._kv.read(EMAILS, email)
        return self.get(record) if record else None

    def save(self, user: User) -> None:
        _, context = self._kv.read(USERS, user.key_id)
        self._kv.write(USERS, user.key_id, asdict(user), context)
        record, context = self._kv.read(EMAILS, user.email)
        if record != user.key_id:
            self._kv.write(EMAILS, user.email, user.key_id, context)

    def release_email(self, email: str) -> None:
        _, context = self._kv.read(EMAILS, email)
        self._kv.delete(EMAILS, email, context)

    def delete(self, user: User) -> None:
        _, context = self._kv.read(USERS, user.key_id)
        self._kv.delete(USERS, user.key_id, context)
        self.release_email(user.email)


@dataclass
class Bucket:
    name: str
    owner: str
    """Key id of the owner."""
    acl: dict[str, Any]
    created: int
    policy: str | None = None
    versioning: str = "Suspended"


class Buckets:
    def __init__(self, kv: KvClient) -> None:
        self._kv = kv

    def get(self, name: str, *, pr: int = 0) -> Bucket | None:
        record, _ = self._kv.read(BUCKETS, name, pr=pr)
        return Bucket(**record) if record else None

    def save(self, bucket: Bucket) -> None:
        _, context = self._kv.read(BUCKETS, bucket.name, pr=3)
        self._kv.write(BUCKETS, bucket.name, asdict(bucket), context)

    def delete(self, name: str) -> None:
        _, context = self._kv.read(BUCKETS, name, pr=3)
        self._kv.delete(BUCKETS, name, context)

    def all(self) -> list[Bucket]:
        return [Bucket(**record) for _, record in self._kv.records(BUCKETS)]
