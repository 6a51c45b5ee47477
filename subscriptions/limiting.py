"""The limiter of this process, which all its doors share, and the numbers it shows.

How a door uses it, from a thread or from the event loop alike:

    refusal = limiter.admit(principal, address, cost(requests=1, bytes_in=length, topic=name))
    if refusal is not None:
        raise refusal.error()               # 429, Retry-After, violated-policies
    ...
    wait_s = limiter.settle_bytes(principal, bytes_out=written)   # pace a stream by it
    answer.headers += limiter.headers(principal, cost)

``admit(None, address, ONE_REQUEST)`` is for requests without an accepted credential. Open streams
are counted by ``limiter.streams.open(principal, address)`` and ``close``.
"""

import functools

from kafkahub import config
from kafkahub.limits.headers import Refusal
from kafkahub.limits.limiter import Limiter
from kafkahub.observability import metrics

fallback = metrics.gauge(
    "limiter_fallback", "Processes that keep to their share of the limits, for Redis is away."
)
refusals = metrics.counter(
    "rate_limited_total", "Requests refused with 429, by policy that was used up.", ["policy"]
)


@functools.cache
def process_limiter() -> Limiter:
    """Return the one of this process; it keeps to its share of the limits until it is started."""
    settings = config.load()
    return Limiter(
        settings.redis_url.get_secret_value(),
        processes=settings.processes,
        on_away=_show_fallback,
        on_refusal=_count,
    )


def _show_fallback(is_away: bool) -> None:  # noqa: FBT001 - the limiter calls it by place
    fallback.set(is_away)


def _count(refusal: Refusal) -> None:
    for policy in refusal.policies:
        refusals.labels(policy).inc()
