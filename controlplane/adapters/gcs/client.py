"""The library's client of one service, made when first used. It is not asynchronous: each request has a thread."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

import requests.adapters
from google.api_core.retry import Retry
from google.auth.credentials import AnonymousCredentials
from google.auth.transport.requests import AuthorizedSession, Request
from google.cloud.storage import Bucket, Client
from google.oauth2.service_account import Credentials

from controlplane.adapters.gcs.failures import Attempts, translated
from controlplane.adapters.gcs.options import GcsOptions
from controlplane.ports.errors import Rejected

_SCOPE: Final = "https://www.googleapis.com/auth/devstorage.read_write"
_FULL_SCOPE: Final = "https://www.googleapis.com/auth/devstorage.full_control"
_LONGEST_S: Final = 120.0

_T = TypeVar("_T")


class GcsClient:
    def __init__(self, options: GcsOptions) -> None:
        self.options = options
        self._made: Client | None = None
        self._session: requests.Session | None = None
        self._short = ThreadPoolExecutor(options.connections, "gcs")
        self._long = ThreadPoolExecutor(options.connections, "gcs-upload")

    @property
    def timeout(self) -> tuple[float, float]:
        return self.options.connect_timeout_s, self.options.read_timeout_s

    def retry(self) -> Retry:
        """For one request."""
        return Retry(Attempts(self.options.attempts), initial=0.1, maximum=5.0, multiplier=2.0, timeout=_LONGEST_S)

    def once(self) -> Retry:
        return Retry(Attempts(1), timeout=_LONGEST_S)

    def bucket(self, name: str) -> Bucket:
        return self.client().bucket(name)

    async def ask(self, what: str, request: Callable[[], _T]) -> _T:
        """Run one request in a thread; a cancelled caller does not wait for it. Raises errors of controlplane.ports."""
        with translated(what):
            return await asyncio.get_running_loop().run_in_executor(self._short, request)

    async def upload(self, what: str, request: Callable[[], _T], stop: Callable[[], None]) -> _T:
        """The same for an upload whose body comes from the caller's loop. When cancelled, it is stopped and waited for.
        It has threads of its own, so that what it waits for never waits for it."""
        running = asyncio.get_running_loop().run_in_executor(self._long, request)
        try:
            with translated(what):
                return await asyncio.shield(running)
        except asyncio.CancelledError:
            stop()
            await asyncio.wait([running])
            running.exception()
            raise

    def client(self) -> Client:
        """Raises Rejected for credentials that are none."""
        if self._made is None:
            options = self.options
            # The session that fetches access tokens must trust the same authority.
            tokens = requests.Session()
            session: Any = AuthorizedSession(self._credentials(), auth_request=Request(tokens))
            for one in (tokens, session):
                one.trust_env = False
                if options.ca_file is not None:
                    one.verify = str(options.ca_file)
                adapter = requests.adapters.HTTPAdapter(options.connections, options.connections * 2, pool_block=False)
                one.mount("https://", adapter)
                one.mount("http://", adapter)
            self._session = session
            self._made = Client(
                project=options.project or None,
                credentials=session.credentials,
                _http=session,
                client_options={"api_endpoint": options.endpoint.rstrip("/")},
            )
        return self._made

    async def aclose(self) -> None:
        self._short.shutdown(wait=False, cancel_futures=True)
        self._long.shutdown(wait=False, cancel_futures=True)
        session, self._session, self._made = self._session, None, None
        if session is not None:
            session.close()

    def _credentials(self) -> Any:
        if not self.options.credentials:
            return AnonymousCredentials()
        scope = _FULL_SCOPE if self.options.project else _SCOPE
        try:
            return Credentials.from_service_account_info(json.loads(self.options.credentials), scopes=[scope])
        except ValueError as error:
            raise Rejected(
                "the credentials are no JSON key of a service account (google's console makes one): "
                f"{type(error).__name__}"
            ) from None
