"""Values that tests of streams need."""

from gateway.frames import Style
from gateway.hub.audience import Spec
from gateway.hub.log import Entry
from gateway.hub.place import Place, Tokens
from gateway.hub.tape import Batch
from kafkahub.kafka.record import Record
from subscriptions.cursor import NO_EPOCH, tag
from subscriptions.filters.closures import compile_filter
from subscriptions.filters.syntax import parse
from subscriptions.grants import Grant
from subscriptions.live import LiveTopic

ENVELOPE = Style("sse", "envelope")
TOKENS = Tokens(tag("cluster"), {"orders": (tag("orders"), NO_EPOCH)})


def topic(name: str = "orders", form: str = "json") -> LiveTopic:
    return LiveTopic(
        name=name,
        format=form,
        content_type="application/json",
        type_source="constant",
        type_value="",
        is_sandbox=False,
        is_sensitive=False,
        is_enabled=True,
    )


def record(offset: int = 0, value: bytes | None = b"1", partition: int = 0) -> Record:
    return Record("orders", partition, offset, 1_767_225_600_123 + offset, b"c-17", value)


def grant() -> Grant:
    return Grant("grt_1", "ptn_1", "orders", "read", 1)


def spec(text: str = "sse", wanted: object = None, *, every: bool = False) -> Spec:
    return Spec(
        topics=("orders",),
        grants=(grant(),),
        catalogue=(topic(),),
        filter_text="" if wanted is None else str(wanted),
        style=Style(text, "envelope"),  # type: ignore[arg-type]  # a table's text
        every=every,
        test=None if wanted is None else compile_filter(parse(wanted)),
    )


def entry(offset: int, frame: bytes = b"data: 1\n\n", number: int = 0, partition: int = 0) -> Entry:
    made = Entry(record(offset, partition=partition), number)
    made.frames[ENVELOPE] = frame
    return made


def place(offset: int, time_ms: int = 0) -> Place:
    return Place({("orders", 0): offset}, time_ms)


def batch(offsets: range, number: int = 0, frame: bytes = b"data: 1\n\n") -> Batch:
    """Return a batch of one entry an offset, between the places around it."""
    entries = [entry(offset, frame, number) for offset in offsets]
    return Batch(entries, ENVELOPE, place(offsets.start), place(offsets.stop), number=number)
