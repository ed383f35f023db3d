"""Who asks: the claim of a request read, its secret found, its signature verified. Disabled users are refused here."""

from __future__ import annotations

from collections.abc import Awaitable

from controlplane.gateway.s3.call import Call
from controlplane.ports.accounts import Account
from controlplane.ports.clock import Clock
from controlplane.ports.errors import NotFound
from controlplane.s3.authentication import Claim, Rules, Verified, payload_of, read_claim, verify
from controlplane.s3.fault import Code, S3Fault
from controlplane.services.s3.callers import Callers


class Authenticator:
    """`rules` with a region: signatures for another one are refused."""

    def __init__(self, callers: Callers, clock: Clock, rules: Rules) -> None:
        self._callers = callers
        self._clock = clock
        self.rules = rules

    def prove(self, call: Call) -> Awaitable[None] | None:
        """Fill in who asks. None: it is done, as for every caller who is known; else await it. Raises S3Fault;
        Unavailable when the secret cannot be looked up (503, never 403)."""
        request = call.request
        claim = read_claim(
            request.method,
            request.path,
            request.query,
            request.fields,
            self._clock.now(),
            bucket_in_host=call.bucket if call.address.in_host else "",
            rules=self.rules,
        )
        if claim is None:
            if request.has_body:
                call.payload = payload_of(request.fields)
            return None
        account = self._callers.known(claim.access_key)
        if account is None or not account.enabled or claim.session_token is not None:
            return self._prove_later(call, claim)
        try:
            verified = verify(claim, account.keys.secret_key)
        except S3Fault:
            return self._prove_later(call, claim)
        _fill_in(call, claim, verified, account)
        return None

    async def _prove_later(self, call: Call, claim: Claim) -> None:
        verified, account = await self.prove_claim(claim)
        _fill_in(call, claim, verified, account)

    async def prove_claim(self, claim: Claim) -> tuple[Verified, Account]:
        if claim.session_token is not None:
            raise S3Fault(
                Code.INVALID_TOKEN, "Temporary credentials are not served here: use the access key of a user."
            )
        account = self._callers.known(claim.access_key) or await self._look_up(claim.access_key)
        try:
            verified = verify(claim, account.keys.secret_key)
        except S3Fault as fault:
            if fault.code is not Code.SIGNATURE_DOES_NOT_MATCH:
                raise
            # The secret may have been changed a moment ago: one look, at most every other second, before refusing.
            fresh = await self._callers.again(claim.access_key, account)
            if fresh is None:
                raise
            account, verified = fresh, verify(claim, fresh.keys.secret_key)
        if not account.enabled:
            raise S3Fault(Code.ACCESS_DENIED, "This user is disabled.")
        return verified, account

    async def _look_up(self, access_key: str) -> Account:
        try:
            return await self._callers.by_key(access_key)
        except NotFound as error:
            raise S3Fault(Code.INVALID_ACCESS_KEY_ID, extra=(("AWSAccessKeyId", access_key[:128]),)) from error


def _fill_in(call: Call, claim: Claim, verified: Verified, account: Account) -> None:
    call.account = account
    call.signer = account.keys
    call.hoisted = claim.hoisted
    call.scheme = verified.scheme
    call.payload = verified.payload
    call.body_seed = verified.seed
