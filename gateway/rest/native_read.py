"""Our own form: one curl reads. The cursor is the only state, and it is the caller's."""

import time
from typing import Final, NamedTuple
from urllib.parse import quote

from gateway.frames import Gap
from gateway.hub.audience import view_of
from gateway.hub.groups import gap_of
from gateway.hub.reads import Haul, size_of
from gateway.rest.call import Call, Gone, Reply
from gateway.rest.native import NO_STORE
from gateway.rest.native_asked import MAX_ANSWER, Asked, asked_of
from gateway.rest.native_pages import Page, Pages, body_of
from gateway.rest.parts import DOOR, Parts, granted, now_ms
from gateway.rest.waiting import Peer, watched
from gateway.starts import Finder, Found
from kafkahub import clock
from kafkahub.errors import CursorExpired
from kafkahub.kafka.envelope import Undecodable
from kafkahub.kafka.record import Record
from kafkahub.limits import policies
from subscriptions import cursor as codec
from subscriptions import sealing, usage
from subscriptions.access import authorize_and_project, refuse_spent
from subscriptions.cursor import Cursor
from subscriptions.filters.closures import Test
from subscriptions.grants import Grant
from subscriptions.live import LiveTopic

LOOK_S: Final = 5.0
"""Longest time that a read looks for a record its filter shows, when there is no ``wait``."""


class Right(NamedTuple):
    """By what the partner reads, and what the topic holds."""

    grant: Grant
    live: LiveTopic


async def read(parts: Parts, call: Call, topic: str) -> Reply:
    """Return records from a position on, and the position behind them."""
    grant = granted(parts, call.who, topic, "read")
    refuse_spent(grant, now_ms())
    live = parts.snapshot().topics[topic]
    if call.query.get("cursor") == codec.FINAL_TOKEN:
        return Reply(204, headers=[NO_STORE])
    asked = asked_of(call, hides=grant.is_filtered)
    found = await _found(parts, call, topic, grant, asked)
    async with parts.waiting.place(call.who.partner), watched(call) as peer:
        page = await _read(parts, found, Right(grant, live), asked, peer)
        if peer.is_gone():
            raise Gone
    writer = Pages(parts, call, live, grant, found)
    if page.gaps and asked.fails_on_gap:
        raise CursorExpired(writer.gap(page.gaps[0]), writer.token(page.after, page.records))
    return await _answer(parts, call, writer, page, asked)


async def _found(parts: Parts, call: Call, topic: str, grant: Grant, asked: Asked) -> Found:
    """Return where the read begins. Raises Invalid ``invalid_cursor``, NotSupportedByCluster."""
    given, is_sealed = None, False
    if asked.cursor is not None:
        given, is_sealed = _read_cursor(parts, call, asked.cursor)
        _check_names_topic(given, topic)
    finder = Finder(
        asks=parts.topology,
        reads={topic: False},
        start=asked.start,
        given=given,
        is_sealed=is_sealed,
        hides=grant.seals,
    )
    return await finder.find()


def _read_cursor(
    parts: Parts, call: Call, text: str
) -> tuple[Cursor | tuple[codec.Spot, ...], bool]:
    if text.lstrip().startswith("["):
        return codec.read_array(text), False
    if codec.raw(text).startswith(codec.SEALED):
        return sealing.sealer(parts.ring, call.who.partner, clock.now()).open(text), True
    return codec.decode(text), False


def _check_names_topic(given: Cursor | tuple[codec.Spot, ...], topic: str) -> None:
    if isinstance(given, Cursor):
        is_named = any(one.name_tag == codec.tag(topic) for one in given.topics)
    else:
        is_named = any(spot.topic == topic for spot in given)
    if not is_named:
        raise codec.refused()


async def _read(parts: Parts, found: Found, right: Right, asked: Asked, peer: Peer) -> Page:
    """Read until something is shown, the time is up, or the peer has gone."""
    begun_s = time.monotonic()
    page = Page([], dict(found.offsets), list(found.gaps), more=False)
    while True:
        haul = await parts.reads.read(page.after, asked.bounds)
        page.after |= haul.after
        page.records += _shown(haul, right, asked, page.gaps)
        for out in haul.out:
            low = out.low if out.offset < out.low else out.high
            reason = "retention" if out.offset < out.low else "truncated"
            lost = max(low - out.offset, 0)
            page.gaps.append(gap_of(out.topic, out.partition, out.offset, lost, reason))
            page.after[out.topic, out.partition] = low
        page.more = len(haul.at_end) < len(page.after)
        spent_s = time.monotonic() - begun_s
        if page.records or (page.gaps and asked.fails_on_gap) or peer.is_gone():
            return page
        if page.more and spent_s < max(asked.wait_s, LOOK_S):
            continue
        if page.more or spent_s >= asked.wait_s:
            return page
        await parts.reads.news(page.after, asked.wait_s - spent_s)


def _shown(haul: Haul, right: Right, asked: Asked, gaps: list[Gap]) -> list[Record]:
    shown = []
    at_ms = now_ms()
    for record in haul.records:
        seen = authorize_and_project(record, right.grant, at_ms)
        if seen is None or not _passes(seen, asked.test, right.live):
            continue
        if size_of(seen) > MAX_ANSWER:
            gaps.append(gap_of(seen.topic, seen.partition, seen.offset, 1, "too_large"))
            continue
        shown.append(seen)
    return shown


def _passes(record: Record, test: Test | None, live: LiveTopic) -> bool:
    """Return whether a filter shows a record; one that does not decode is shown, not lost."""
    if test is None:
        return True
    try:
        return test.run(view_of(record, live)) is True
    except Undecodable:
        return True


async def _answer(parts: Parts, call: Call, writer: Pages, page: Page, asked: Asked) -> Reply:
    following = writer.token(page.after, page.records)
    lag_records, lag_s = await _lag(parts, writer.hides, page)
    body, kind = body_of(writer, page, asked, following, (lag_records, lag_s))
    path = f"{parts.public_url}{call.path}?cursor={quote(following)}"
    records = "" if lag_records is None else f"records={lag_records}, "
    size, count = len(body), len(page.records)
    parts.limiter.charge(call.who, policies.cost(records_out=count, bytes_out=size))
    used = usage.Used(requests=1, records_out=count, bytes_out=size)
    usage.process_usage().note(call.who.partner, DOOR, used, writer.topic)
    headers = [
        NO_STORE,
        (b"kafkahub-next-cursor", following.encode()),
        (b"kafkahub-lag", f"{records}seconds={lag_s}".encode()),
        (b"link", f'<{path}>; rel="next"'.encode()),
    ]
    return Reply(200, body, kind.encode(), headers)


async def _lag(parts: Parts, hides: bool, page: Page) -> tuple[int | None, float]:  # noqa: FBT001 - told by place
    """Return how far behind the answer leaves the caller, in records and seconds."""
    topic = next(iter(page.after))[0] if page.after else ""
    marks = await parts.topology.marks(topic) if topic else {}
    behind = sum(
        max(0, marks[number][1] - offset)
        for (_, number), offset in page.after.items()
        if number in marks
    )
    if not behind or not page.more:
        return (None if hides else 0), 0.0
    newest_ms = max((one.timestamp_ms or 0 for one in page.records), default=0)
    lag_s = round(max(0.0, clock.now().timestamp() - newest_ms / 1_000), 3) if newest_ms else 0.0
    return (None if hides else behind), lag_s
