"""Query parameters that lists of deliveries, attempts and parked rows have in common."""

import zlib
from collections.abc import Mapping
from datetime import datetime, timedelta

from kafkahub import clock
from kafkahub.drf import answers, parameters
from kafkahub.drf.parameters import Arguments, BadValue, Parameter
from kafkahub.errors import Fault, Invalid

DEFAULT_WINDOW = timedelta(hours=24)
MAX_WINDOW = timedelta(days=31)
CLASS_LENGTH = len("5xx")


def _read_status(given: str) -> str:
    is_plain = given.isascii() and given.isdigit() and 100 <= int(given[:4]) <= 599  # noqa: PLR2004 - RFC 9110
    is_class = len(given) == CLASS_LENGTH and given[0] in "12345" and given[1:] == "xx"
    if not (is_plain or is_class):
        raise BadValue("out_of_range", "a status such as 503, or a class such as 5xx, is needed.")
    return given


SUBSCRIPTION = parameters.text("subscription", "Only those of this subscription.", longest=40)
ENDPOINT = parameters.text("endpoint", "Only those sent to this endpoint.", longest=40)
TOPIC = parameters.text("topic", "Only records of this topic.", longest=249)
KEY = parameters.text("key", "Only records with this key, as text.", longest=300)
OUTCOME = parameters.text("outcome", "Only those whose outcome is this name.", longest=32)
HTTP_STATUS = Parameter(
    name="http_status",
    description="Only those answered by this status, such as `503`, or class, such as `5xx`.",
    read=_read_status,
    schema={"type": "string", "pattern": "^([1-5][0-9]{2}|[1-5]xx)$"},
)
ID = parameters.text("id", "Only this delivery, by its `webhook-id`.", longest=40)
SINCE = parameters.moment("since", "From this time on; by default 24 hours ago.")
UNTIL = parameters.moment("until", "Before this time; by default now. Up to 31 days in all.")
SENT = (SUBSCRIPTION, ENDPOINT, TOPIC, KEY, OUTCOME, HTTP_STATUS, ID, SINCE, UNTIL)
"""Filters of what was sent."""


def window(arguments: Arguments) -> tuple[datetime, datetime]:
    """Return the time looked at, ``since`` inclusive and ``until`` exclusive.

    Raises Invalid ``out_of_range`` for one that is empty or longer than 31 days.
    """
    # An attempt's time is PostgreSQL's, which may be a little ahead of this machine's.
    until = arguments.moment("until") or clock.now() + timedelta(minutes=1)
    since = arguments.moment("since") or _before(until)
    if since >= until:
        raise _bad_window("since must be before until.")
    if until - since > MAX_WINDOW + timedelta(minutes=1):
        raise _bad_window("since and until may be 31 days apart.")
    return since, until


def _before(until: datetime) -> datetime:
    try:
        return until - DEFAULT_WINDOW
    except OverflowError:
        raise _bad_window("There is no time so early.") from None


def _bad_window(text: str) -> Invalid:
    return Invalid([Fault("", "out_of_range", text, {"parameter": "since"})])


def statuses(given: str) -> tuple[int, int]:
    """Return the lowest and highest status that ``503`` or ``5xx`` stands for."""
    if given.endswith("xx"):
        low = int(given[0]) * 100
        return low, low + 99
    return int(given), int(given)


def version_of(shown: Mapping[str, object]) -> int:
    """Return a version of what is shown: these rows count no changes, so their content does.

    Without the cursor, which is another one each time where it is sealed.
    """
    content = {name: value for name, value in shown.items() if name != "cursor"}
    return zlib.crc32(answers.encode(content))
