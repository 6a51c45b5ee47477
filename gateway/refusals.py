"""How a stream is refused: by status, or to a browser in a stream of one frame (pure).

A native EventSource gives up for ever on any status but 200, and cannot read it. So whoever may
come again is told in a frame, and whoever had a stream is told everything so.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.frames import Closing, Door
from gateway.http import Request
from gateway.hub.connections import Ending
from gateway.query import cursor_of, is_well_formed
from kafkahub.errors import HubError, OriginNotAllowed, RateLimited, Unavailable
from kafkahub.problems import RETRY_AFTER_S, code_and_title
from subscriptions.cursor import FINAL_TOKEN

STOPPING = frozenset({400, 401, 403, 404})
PASSING = frozenset({429, 503})
NOBODY = 401


@dataclass(frozen=True, slots=True)
class Manner:
    """How a client can be refused.

    is_hard       it reads status codes; a native EventSource does not, and gives up on them
    is_returning  it comes with a cursor, so it had a stream before
    """

    is_hard: bool
    is_returning: bool


def manner_of(request: Request, door: Door) -> Manner:
    """Return how a client can be refused."""
    is_plain = door.text != "sse" or request.parameter("errors") == "http"
    is_returning = not is_plain and is_well_formed(cursor_of(request))
    is_browser = request.header("sec-fetch-mode") is not None
    return Manner(is_plain or not (is_returning or is_browser), is_returning)


def is_soft(error: HubError, manner: Manner) -> bool:
    """Return whether the refusal is a stream: a page that may not read it gets a status."""
    if isinstance(error, OriginNotAllowed):
        return False
    if error.status in STOPPING:
        return manner.is_returning
    return error.status in PASSING and not manner.is_hard


def reason_of(error: HubError) -> str:
    """Return the reason of a closing that stands for an error."""
    code, _ = code_and_title(error)
    if code in {"quota_exceeded", "rate_limited", "overloaded", "invalid_cursor"}:
        return code
    if error.status in PASSING:
        return "unavailable"
    return "protocol_error" if error.status not in STOPPING - {400} else "revoked"


def refusal(why: Ending, error: HubError, given: str | None) -> Closing:
    """Return the closing that stands for an error.

    given  the cursor that the client brought: it stays usable, but for who is not known
    """
    usable = given if error.status != NOBODY and is_well_formed(given) else None
    is_over = why.action == "stop"
    return Closing(
        reason=why.reason,
        action=why.action,
        retry_ms=why.retry_ms,
        ws_code=why.ws_code,
        token=FINAL_TOKEN if is_over else _one_line(usable),
        cursor=usable,
        status=error.status,
        detail=error.detail,
    )


def retry_after(error: HubError, chance: float) -> Mapping[str, str]:
    """Return ``Retry-After``, up to twice as long as it must be, by ``chance`` from 0 to 1."""
    if not isinstance(error, RateLimited | Unavailable):
        return {}
    least_s = error.retry_after_s or RETRY_AFTER_S
    return {"Retry-After": str(least_s + round(chance * (least_s if least_s > 1 else 0)))}


def _one_line(token: str | None) -> str:
    return "" if token is None or token.startswith("[") else token
