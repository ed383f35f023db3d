"""One S3 request, as its handlers see it: what it asks for, of what, and who asks."""

from __future__ import annotations

from functools import lru_cache

from controlplane.gateway.s3.client_address import Proxies
from controlplane.http import Request
from controlplane.ports.accounts import Account
from controlplane.ports.upstream import Ask, KeyPair, Query
from controlplane.s3.access.principals import ANONYMOUS, Caller, User
from controlplane.s3.addressing import Address
from controlplane.s3.authentication import ChunkSeed, Fields, Scheme
from controlplane.s3.claim import UNDECLARED
from controlplane.s3.fault import Code, S3Fault
from controlplane.s3.operation import Operation
from controlplane.services.s3.buckets import BucketFacts


class Call:
    """Filled in on the way in: first what is asked, then who asks, then what the bucket allows."""

    __slots__ = (
        "_fields",
        "_headers",
        "_parameters",
        "_proxies",
        "account",
        "address",
        "body_seed",
        "facts",
        "hoisted",
        "operation",
        "payload",
        "query",
        "request",
        "scheme",
        "signer",
    )

    def __init__(
        self, request: Request, operation: Operation, address: Address, query: Query, proxies: Proxies
    ) -> None:
        self.request = request
        self.operation = operation
        self.address = address
        self.query = query
        self.payload = UNDECLARED
        self._proxies = proxies
        self.account: Account | None = None
        """None: anonymous."""
        self.signer: KeyPair | None = None
        """With whose keys Riak CS is asked; None: anonymously."""
        self.scheme: Scheme | None = None
        self.body_seed: ChunkSeed | None = None
        self.hoisted: Fields = ()
        """Header fields that a presigned query carries: as good as sent ones, once the signature is proved."""
        self.facts: BucketFacts | None = None
        self._fields: list[tuple[bytes, bytes]] | None = None
        self._headers: dict[str, str] | None = None
        self._parameters: dict[str, str] | None = None

    @property
    def bucket(self) -> str:
        return self.address.bucket

    @property
    def key(self) -> str:
        return self.address.key

    @property
    def caller(self) -> Caller:
        return ANONYMOUS if self.account is None else caller_of(self.account)

    @property
    def bucket_facts(self) -> BucketFacts:
        if self.facts is None:
            raise RuntimeError("the bucket of this request was not looked up")
        return self.facts

    @property
    def secure(self) -> bool:
        """Whether the client came by TLS."""
        return self._proxies.secure(self.request)

    @property
    def source_ip(self) -> str:
        return self._proxies.address(self.request)

    @property
    def fields(self) -> list[tuple[bytes, bytes]]:
        """All header fields, and those that a presigned query carries in their place."""
        if self._fields is None:
            self._fields = [*self.request.headers, *self.hoisted]
        return self._fields

    def header(self, name: bytes) -> bytes | None:
        """The first value of this (lower-case) name."""
        value = self.request.header(name)
        if value is None and self.hoisted:
            return next((value for known, value in self.hoisted if known == name), None)
        return value

    def has_any(self, names: frozenset[bytes]) -> bool:
        """Whether there is a field of one of these names."""
        return self.request.has_any(names) or any(name in names for name, _ in self.hoisted)

    @property
    def headers(self) -> dict[str, str]:
        """First values, lower-case names; bytes that are no UTF-8 survive as surrogates."""
        if self._headers is None:
            found: dict[str, str] = {}
            for name, value in self.fields:
                found.setdefault(name.decode("ascii"), value.decode("utf-8", "surrogateescape"))
            self._headers = found
        return self._headers

    def parameter(self, name: str) -> str | None:
        """The first value of a query parameter; None when it is not there."""
        if self._parameters is None:
            self._parameters = {}
            for known, value in self.query:
                self._parameters.setdefault(known, value)
        return self._parameters.get(name)

    def number(self, name: str, least: int, most: int) -> int | None:
        """Raises S3Fault InvalidArgument."""
        text = self.parameter(name)
        if text is None or text == "":
            return None
        if not (text.isascii() and text.isdigit() and len(text) < 12 and least <= int(text) <= most):
            raise S3Fault(
                Code.INVALID_ARGUMENT,
                f"{name} is a number from {least} to {most}.",
                extra=(("ArgumentName", name), ("ArgumentValue", text)),
            )
        return int(text)

    def ask(
        self,
        method: str,
        *,
        query: Query = (),
        headers: dict[str, str] | None = None,
        body: bytes = b"",
        repeatable: bool = True,
    ) -> Ask:
        """A request to Riak CS about the same bucket and key, with the caller's own key."""
        return Ask(method, self.signer, self.bucket, self.key, query, headers or {}, body, len(body), repeatable)


@lru_cache(maxsize=1024)
def caller_of(account: Account) -> Caller:
    return Caller(account.id, account.display_name, account.arn, account.name)


@lru_cache(maxsize=1024)
def user_of(account: Account) -> User:
    return User(account.id, account.display_name)


def require_served(bucket: str, key: str) -> None:
    """Refuse what Riak CS would take for something else: it drops a leading slash (key-put-leading-slash), and below
    /riak-cs it may have its admin port (users-json)."""
    if key.startswith("/"):
        raise S3Fault(Code.NOT_IMPLEMENTED, "Keys that begin with a slash are not served: the store drops it.")
    if bucket == "riak-cs":
        raise S3Fault(Code.NO_SUCH_BUCKET, extra=(("BucketName", bucket),))
