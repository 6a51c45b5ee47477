"""Cursors: what goes in comes out, and nothing else does."""

import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafkahub.errors import Invalid
from subscriptions.cursor import (
    NO_EPOCH,
    TOKEN_MAX,
    Cursor,
    Prepared,
    TopicPosition,
    decode,
    encode,
    tag,
    uvarint,
)

ORDERS = TopicPosition(tag("orders"), NO_EPOCH, {0: 42, 1: 7, 5: 0})
INVOICES = TopicPosition(tag("invoices"), tag("uuid"), {3: 1_000_000})
CURSOR = Cursor(tag("cluster"), 1_795_407_540_123, (ORDERS, INVOICES))

tags = st.binary(min_size=4, max_size=4)
numbers = st.integers(0, 2**63 - 1)
partitions = st.dictionaries(st.integers(0, 10_000), numbers, max_size=8)
cursors = st.builds(
    Cursor,
    cluster_tag=tags,
    time_ms=numbers,
    topics=st.lists(
        st.builds(TopicPosition, tags, tags, partitions),
        max_size=4,
        unique_by=lambda topic: topic.name_tag,
    ).map(tuple),
)


def written(cursor: Cursor) -> str:
    token = encode(cursor)
    assert token is not None
    return token


def with_sum(content: bytes) -> str:
    """Return the token of any content, its check sum right."""
    summed = content + zlib.crc32(content).to_bytes(4, "big")
    return urlsafe_b64encode(summed).rstrip(b"=").decode()


@given(cursors)
def test_every_position_comes_back(cursor: Cursor) -> None:
    assert decode(written(cursor)) == cursor


def test_the_form_is_the_documented_one() -> None:
    one = Cursor(tag("c"), 300, (TopicPosition(tag("t"), NO_EPOCH, {2: 5, 4: 128}),))
    body = tag("c") + b"\xac\x02" + b"\x01" + tag("t") + bytes(4) + b"\x02\x02\x05\x01\x80\x01"

    assert written(one) == with_sum(b"\x01" + body)


def test_24_partitions_take_about_230_characters() -> None:
    offsets = {partition: 3_000_000_000 + partition for partition in range(24)}

    token = written(
        Cursor(tag("c"), 1_795_407_540_123, (TopicPosition(tag("t"), NO_EPOCH, offsets),))
    )

    assert 200 < len(token) < 260


def test_a_cursor_that_would_be_too_long_is_not_handed_out() -> None:
    offsets = dict.fromkeys(range(600), 2**40)

    assert encode(Cursor(tag("c"), 1, (TopicPosition(tag("t"), NO_EPOCH, offsets),))) is None


@given(cursors, numbers, numbers)
def test_a_prepared_token_is_the_token(cursor: Cursor, time_ms: int, offset: int) -> None:
    lane = TopicPosition(b"lane", NO_EPOCH, {1: 9, 3: 9, 4: 9})
    before = Cursor(cursor.cluster_tag, cursor.time_ms, (*cursor.topics, lane))
    moved = TopicPosition(b"lane", NO_EPOCH, {1: 9, 3: offset, 4: 9})
    after = Cursor(cursor.cluster_tag, time_ms, (*cursor.topics, moved))

    assert Prepared(before, b"lane", 3).token(time_ms, offset) == encode(after)


def test_a_partition_that_is_not_there_cannot_be_prepared() -> None:
    with pytest.raises(ValueError, match="not in tuple"):
        Prepared(CURSOR, tag("orders"), 2)


TOKEN = written(CURSOR)
CONTENT = urlsafe_b64decode(TOKEN + "=" * (-len(TOKEN) % 4))[:-4]
HEAD = b"\x01" + tag("c") + b"\x00"


@pytest.mark.parametrize(
    "token",
    [
        "",
        "Aw",
        TOKEN[:-1],
        TOKEN + "A",
        TOKEN + "=",
        TOKEN[:10] + "\n" + TOKEN[10:],
        TOKEN.replace(TOKEN[20], "é", 1),
        TOKEN[:20] + ("A" if TOKEN[20] != "A" else "B") + TOKEN[21:],
        "A" * (TOKEN_MAX + 1),
        with_sum(b"\x02" + CONTENT[1:]),
        with_sum(CONTENT + b"\x00"),
        with_sum(HEAD + b"\x81\x00"),  # one topic, written in more bytes than it needs
        with_sum(HEAD + b"\xff" * 9),
        with_sum(HEAD + b"\xff" * 4 + b"\x7f"),  # 34 billion topics
        written(Cursor(tag("c"), 0, (ORDERS, ORDERS))),
        with_sum(HEAD + b"\x01" + bytes(8) + b"\x02\x00\x00\x00"),
    ],
)
def test_whatever_is_wrong_with_a_cursor_it_is_one_refusal(token: str) -> None:
    with pytest.raises(Invalid) as caught:
        decode(token)

    assert caught.value.instance_code == "invalid_cursor"
    assert caught.value.detail == "The cursor is not one of ours; use it exactly as it was given."


@given(st.text(alphabet="ABab01-_", max_size=200))
def test_any_text_is_a_cursor_or_refused(text: str) -> None:
    try:
        cursor = decode(text)
    except Invalid:
        return
    assert encode(cursor) == text


@pytest.mark.parametrize(
    ("number", "bytes_"), [(0, b"\0"), (127, b"\x7f"), (128, b"\x80\1"), (300, b"\xac\2")]
)
def test_numbers_take_seven_bits_a_byte(number: int, bytes_: bytes) -> None:
    assert uvarint(number) == bytes_
