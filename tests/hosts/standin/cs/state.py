"""What the parts of one Riak CS node share, and one request with its caller."""

from dataclasses import dataclass, field
from urllib.parse import unquote_plus, unquote_to_bytes

from tests.hosts.standin.config.cuttlefish import Configuration
from tests.hosts.standin.cs.answers import S3Error
from tests.hosts.standin.cs.kv_client import KvClient
from tests.hosts.standin.cs.objects import Objects
from tests.hosts.standin.cs.stanchion import Stanchion
from tests.hosts.standin.cs.users import Bucket, Buckets, User, Users
from tests.hosts.standin.web.messages import Request


@dataclass
class CsState:
    configuration: Configuration
    kv: KvClient
    users: Users
    buckets: Buckets
    objects: Objects
    stanchion: Stanchion
    counters: dict[str, int] = field(default_factory=dict)

    @property
    def values(self) -> dict[str, str]:
        return self.configuration.values

    def is_admin(self, user: User | None) -> bool:
        return user is not None and user.key_id == self.values["admin.key"]

    def count(self, name: str) -> None:
        self.counters[name] = self.counters.get(name, 0) + 1


@dataclass
class Call:
    """One S3 request: bucket and key as its path or Host names them, and who sends it."""

    state: CsState
    request: Request
    bucket_name: str
    key: bytes
    user: User | None = None
    params: dict[str, str | None] = field(default_factory=dict)

    @property
    def key_id(self) -> str | None:
        return self.user.key_id if self.user else None

    def param(self, name: str) -> str | None:
        return self.params.get(name)

    def bucket(self) -> Bucket:
        """Raises NoSuchBucket."""
        found = self.state.buckets.get(self.bucket_name)
        if found is None:
            raise S3Error("NoSuchBucket")
        return found

    def owner(self, bucket: Bucket) -> User | None:
        return self.state.users.get(bucket.owner)

    def owns(self, bucket: Bucket) -> bool:
        return self.user is not None and bucket.owner == self.user.key_id

    @property
    def is_admin(self) -> bool:
        return self.state.is_admin(self.user)


def parameters(query: str) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for pair in query.split("&"):
        name, equals, value = pair.partition("=")
        if name:
            found[unquote_plus(name)] = unquote_plus(value, errors="surrogateescape") if equals else None
    return found


def split_path(path: str) -> tuple[str, bytes]:
    """Bucket and key; a plus is a space, and one slash in front of the key is dropped."""
    name, _, rest = path.removeprefix("/").partition("/")
    key = unquote_to_bytes(rest.replace("+", " ").encode("latin-1"))
    return unquote_plus(name), key.removeprefix(b"/")
