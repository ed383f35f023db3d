"""One request to one etcd member over HTTP: TLS, the authentication token, and what a failure says of the request."""

from __future__ import annotations

import asyncio
import logging
import ssl
import weakref

import aiohttp

from controlplane.adapters.etcd.options import EtcdOptions
from controlplane.adapters.etcd.wire import Failure, Json, LineSplitter, Nonsense, judge, parse, read_error, text
from controlplane.ports.errors import Rejected, Unavailable

_log = logging.getLogger(__name__)

_MOST_ANSWER_BYTES = 64 * 1024 * 1024
_COMMON_NAME = b"CommonName of client sending a request against gateway"
"""Source: etcd embed/serve.go. The gateway's own certificate would be taken for the user otherwise."""
_HEADERS = {"Content-Type": "application/json", "Grpc-Metadata-hasleader": "true"}
"""hasleader: a member that is cut off from its leader refuses at once, and ends its streams."""


class Refused(Exception):
    """The cluster understood the request and declined it: it was not applied. Callers turn it into a port's error."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class AttemptFailed(Exception):
    """One member did not serve the request; another may."""

    def __init__(self, reason: str, *, applied: bool) -> None:
        super().__init__(reason)
        self.electing = "leader" in reason
        """Whether the members seem to be choosing a leader, which takes a second or so."""
        self.applied = applied
        """Whether the request may have been applied, now or later."""


class _StaleToken(Exception):
    """The member does not accept the token (any more), or wants one."""


class Stream:
    """An open stream of one member. Close it."""

    def __init__(self, url: str, response: aiohttp.ClientResponse) -> None:
        self.url = url
        self._response = response
        self._lines = LineSplitter()

    async def messages(self) -> list[Json]:
        """All that has arrived, at least one message; cancelling it loses nothing.
        Raises Unavailable when the stream is over, Nonsense."""
        arrived: list[Json] = []
        while not arrived:
            try:
                chunk = await self._response.content.readany()
            except (aiohttp.ClientError, OSError, RuntimeError) as error:  # RuntimeError: closed in the meantime
                raise Unavailable(f"the stream from etcd {self.url} broke: {_reason(error)}") from error
            if not chunk:
                raise Unavailable(f"etcd {self.url} ended the stream")
            arrived.extend(self._result(line) for line in self._lines.feed(chunk))
        return arrived

    def close(self) -> None:
        # aiohttp does not wake a reader whose own side closes the connection.
        self._response.content.set_exception(aiohttp.ClientConnectionError("closed here"))
        self._response.close()

    def _result(self, line: bytes) -> Json:
        fields = parse(line)
        if "error" in fields:
            code, message = read_error(fields)
            raise Unavailable(f"etcd {self.url} ended the stream: {message} (code {code})")
        result = fields.get("result")
        if not isinstance(result, dict):
            raise Nonsense("a message of a stream has no result")
        return result


class Transport:
    """Sends requests to members. The constructor does no I/O; the session belongs to the loop of the first request."""

    def __init__(self, options: EtcdOptions) -> None:
        self._options = options
        self._session: aiohttp.ClientSession | None = None
        self._closed = False
        self._token: str | None = None
        self._auth_is_off = False
        self._authenticating = asyncio.Lock()
        self._streams: weakref.WeakSet[Stream] = weakref.WeakSet()

    @property
    def closed(self) -> bool:
        return self._closed

    async def ask(self, url: str, path: str, body: Json) -> Json:
        """The answer (of a stream: its first message) within timeout_s, authentication included.
        Raises AttemptFailed, Refused, Rejected, Unavailable (etcd is full, or this is closed)."""
        deadline = self._deadline()
        response = await self._open(url, path, body, deadline)
        try:
            async with asyncio.timeout_at(deadline):
                return parse(await _read(response))
        except TimeoutError as error:
            raise self._too_slow(applied=True) from error
        except (aiohttp.ClientError, OSError, Nonsense) as error:
            raise AttemptFailed(_reason(error), applied=True) from error
        finally:
            response.release()

    async def open_stream(self, url: str, path: str, body: Json) -> Stream:
        """A stream that has begun. Raises like ask()."""
        stream = Stream(url, await self._open(url, path, body, self._deadline()))
        self._streams.add(stream)
        return stream

    def forget_token(self) -> None:
        """The next request authenticates anew. A token names a place in etcd's log, and a member that has not come so
        far keeps its bearer waiting until it has: after a restore from a snapshot, for ever."""
        self._token = None

    async def aclose(self) -> None:
        self._closed = True
        for stream in tuple(self._streams):
            stream.close()
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _deadline(self) -> float:
        return asyncio.get_running_loop().time() + self._options.timeout_s

    async def _open(self, url: str, path: str, body: Json, deadline: float) -> aiohttp.ClientResponse:
        token = self._token
        if token is None and self._options.username and not self._auth_is_off:
            token = await self._renew(url, None, deadline)
        try:
            return await self._post(url, path, body, token, deadline)
        except _StaleToken as error:
            if not self._options.username:
                raise Rejected(
                    f"etcd {url} asks for a user ({error}): set directory.etcd.username, password"
                ) from error
        token = await self._renew(url, token, deadline)
        try:
            return await self._post(url, path, body, token, deadline)
        except _StaleToken as error:
            # A member that lags behind does not know the newest token yet.
            raise AttemptFailed(f"a fresh token was not accepted: {error}", applied=False) from error

    async def _renew(self, url: str, stale: str | None, deadline: float) -> str | None:
        """A token that replaces `stale`, fetched once however many ask; None when etcd has authentication off."""
        try:
            async with asyncio.timeout_at(deadline), self._authenticating:
                if self._token == stale:
                    self._token = await self._authenticate(url, deadline)
                return self._token
        except TimeoutError as error:
            raise self._too_slow(applied=False) from error

    async def _authenticate(self, url: str, deadline: float) -> str | None:
        body = {"name": self._options.username, "password": self._options.password}
        try:
            response = await self._post(url, "/v3/auth/authenticate", body, None, deadline)
            try:
                token = text(parse(await _read(response)), "token")
            finally:
                response.release()
        except Refused as error:
            if "authentication is not enabled" not in error.message:
                raise Rejected(
                    f"etcd {url} refused the user {self._options.username!r}: {error.message}:"
                    " correct directory.etcd.username and password"
                ) from error
            if not self._auth_is_off:
                _log.warning("etcd %s has authentication off, though a user is configured: going on without", url)
            self._auth_is_off = True
            return None
        except (AttemptFailed, _StaleToken, aiohttp.ClientError, OSError, Nonsense) as error:
            raise AttemptFailed(f"authentication: {_reason(error)}", applied=False) from error
        self._auth_is_off = False
        return token

    async def _post(
        self, url: str, path: str, body: Json, token: str | None, deadline: float
    ) -> aiohttp.ClientResponse:
        """The response once it is 200. Raises AttemptFailed, Refused, Rejected, Unavailable, _StaleToken."""
        headers = _HEADERS if token is None else {**_HEADERS, "Authorization": token}
        try:
            async with asyncio.timeout_at(deadline):
                response = await self._connected().post(url + path, json=body, headers=headers, allow_redirects=False)
                if response.status == 200:
                    return response
                try:
                    data = await _read(response)
                finally:
                    response.release()
        except TimeoutError as error:
            unconnected = isinstance(error, aiohttp.ConnectionTimeoutError)
            raise self._too_slow(applied=not unconnected) from error
        except aiohttp.ClientConnectorError as error:
            raise AttemptFailed(_reason(error), applied=False) from error
        except (aiohttp.ClientError, OSError, Nonsense) as error:
            # TLS 1.3 refuses a client certificate after the handshake, and the alert may be lost to the reset.
            cut = url.startswith("https:") and isinstance(error, (OSError, aiohttp.ServerDisconnectedError))
            hint = ": does etcd accept the client certificate (directory.etcd.cert_file)?" if cut else ""
            raise AttemptFailed(_reason(error) + hint, applied=True) from error
        raise _failure(url, response.status, data)

    def _connected(self) -> aiohttp.ClientSession:
        if self._closed:
            raise Unavailable("the directory was closed")
        if self._session is None:
            # Half of the time for the connection, so that a host that is away is told from one that does not answer.
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._options.timeout_s / 2)
            connector = aiohttp.TCPConnector(limit=0, ssl=_tls(self._options))
            self._session = aiohttp.ClientSession(connector=connector, timeout=timeout)
        return self._session

    def _too_slow(self, *, applied: bool) -> AttemptFailed:
        return AttemptFailed(f"no answer within {self._options.timeout_s:g} s", applied=applied)


def _failure(url: str, status: int, data: bytes) -> Exception:
    try:
        fields = parse(data)
    except Nonsense as error:
        if _COMMON_NAME in data:
            return Rejected(
                f"etcd {url} has both users and client certificates on, and then refuses certificates with a"
                " CommonName at its JSON gateway: issue a client certificate without one (with an organization, say)"
            )
        hint = ": the JSON gateway of etcd 3.4 or newer is expected there" if status == 404 else ""
        failure = AttemptFailed(
            f"HTTP {status} {data[:200].decode(errors='replace').strip()}{hint}", applied=status >= 500
        )
        failure.__cause__ = error
        return failure
    code, message = read_error(fields)
    match judge(code, message):
        case Failure.STALE_TOKEN:
            return _StaleToken(message)
        case Failure.DENIED:
            return Rejected(f"etcd {url} denied the request ({message}): grant the user's role the keys of the cluster")
        case Failure.REFUSED:
            return Refused(code, message)
        case Failure.FULL:
            return Unavailable(
                f"etcd is full ({message}): compact, defragment and disarm the alarm, or raise its quota"
            )
        case Failure.NOT_APPLIED:
            return AttemptFailed(message, applied=False)
        case Failure.UNKNOWN:
            return AttemptFailed(f"{message} (HTTP {status}, code {code})", applied=True)


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """The body, up to a bound. Raises Nonsense beyond."""
    data = bytearray()
    async for chunk in response.content.iter_any():
        data += chunk
        if len(data) > _MOST_ANSWER_BYTES:
            response.close()
            raise Nonsense(f"the answer is longer than {_MOST_ANSWER_BYTES} bytes")
    return bytes(data)


def _tls(options: EtcdOptions) -> ssl.SSLContext | bool:
    """Raises Rejected when a file cannot be used."""
    if not any(url.startswith("https:") for url in options.endpoints):
        return True
    try:
        context = ssl.create_default_context(cafile=options.ca_file)
        if options.cert_file is not None:
            context.load_cert_chain(options.cert_file, options.key_file)
    except (OSError, ValueError) as error:
        files = ", ".join(str(path) for path in (options.ca_file, options.cert_file, options.key_file) if path)
        raise Rejected(f"cannot use the TLS files for etcd ({files}): {error}") from error
    return context


def _reason(error: BaseException) -> str:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"its TLS certificate was refused ({error.certificate_error}): check directory.etcd.ca_file"
    return str(error) or type(error).__name__
