"""What a gateway's refusal means: problem details (RFC 9457) into the error tree."""

from __future__ import annotations

from controlplane.cli.blob_transport import Answer, read_json
from controlplane.ports.errors import Conflict, Corrupt, MillraceError, NotFound, Rejected, Unavailable

_URN = "urn:millrace:problem:"
_TRY_LATER = frozenset({408, 429, 503, 504, 507})
_ADVICE = {
    401: "give a token in MILLRACE_TOKEN or --token-file",
    403: "take a token with that scope",
}


def told_by(answer: Answer, url: str) -> str:
    """Who said it: for the end or the beginning of a message."""
    request = answer.header("x-request-id")
    return f"{url} answered {answer.status}" + (f", request {request}" if request else "")


def failure_of(answer: Answer, url: str) -> MillraceError:
    """The error that the answer stands for. An answer that is not Millrace's own is never NotFound (I5)."""
    problem = (answer.header("content-type") or "").partition(";")[0].strip().lower() == "application/problem+json"
    body = read_json(answer) if problem else None
    # A HEAD has no body to tell the kind.
    kind = str((body or {}).get("type", "")).removeprefix(_URN)
    detail = str((body or {}).get("detail", "")) or ("not found" if problem and answer.status == 404 else "refused")
    message = f"{detail} ({told_by(answer, url)})"
    if answer.status in _ADVICE:
        message += f": {_ADVICE[answer.status]}"
    if answer.status == 422 or kind == "corrupt":
        return Corrupt(message)
    if answer.status == 404:
        if problem and kind in ("", "not-found"):
            return NotFound(message)
        return Rejected(f"{message}: is it the URL of a Millrace gateway?")
    if answer.status in _TRY_LATER or (answer.status == 502 and not problem):
        return Unavailable(message, retry_after=_retry_after(answer))
    if answer.status == 409:
        return Conflict(message)
    if 300 <= answer.status < 400:
        return Rejected(f"{told_by(answer, url)}: a redirect is not followed: give the right URL")
    if answer.status < 500 or kind == "store-refused":
        return Rejected(message)
    return MillraceError(message)


def _retry_after(answer: Answer) -> float:
    given = (answer.header("retry-after") or "").strip()
    return float(given) if given.isascii() and given.isdecimal() and len(given) < 6 else 5.0
