"""The admin's key pair of Riak CS, of which the secret is replaced while gateways and agents run."""

from __future__ import annotations

import logging
from typing import Final

from controlplane.ports.clock import Clock
from controlplane.ports.upstream import KeyPair, RenewableKeyPair
from controlplane.settings.secret import Secret
from controlplane.settings.tree import Settings

log = logging.getLogger(__name__)

LOOK_S: Final = 1.0
"""The file is not read again within this: a policy that refuses the admin is an everyday thing."""


class AdminKeys:
    """Implements ports.upstream.Renewal. What cannot be read leaves the pair as it is, and is told once.

    The file is read on the event loop: it is small and local, a second apart, and only after a refusal.
    """

    def __init__(self, access_key: str, secret: Secret, clock: Clock) -> None:
        self._secret = secret
        self._clock = clock
        self._current = KeyPair(access_key, secret.reveal())
        self._looked_at: float | None = None
        self._told = ""

    @property
    def current(self) -> KeyPair:
        return self._current

    def renewed(self, refused: KeyPair) -> bool:
        now = self._clock.monotonic()
        if self._current == refused and (self._looked_at is None or now - self._looked_at >= LOOK_S):
            self._looked_at = now
            self._look()
        return self._current != refused

    def _look(self) -> None:
        try:
            found = self._secret.reread()
        except ValueError as error:
            if str(error) != self._told:
                self._told = str(error)
                log.warning("s3.admin_secret was refused and cannot be read again; the former one stays: %s", error)
            return
        self._told = ""
        if found != self._secret:
            self._secret = found
            self._current = KeyPair(self._current.access_key, found.reveal())
            log.info("s3.admin_secret was refused, and its %s holds another one: taken up", found.source)


def admin_keys(settings: Settings, clock: Clock) -> KeyPair:
    """A renewable pair: when it is refused, its secret's file is read again."""
    s3 = settings.s3
    if s3.admin_secret is None:
        return KeyPair(s3.admin_key, "")
    keys = AdminKeys(s3.admin_key, s3.admin_secret, clock)
    return RenewableKeyPair(keys.current.access_key, keys.current.secret_key, keys)
