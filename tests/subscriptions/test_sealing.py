import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafkahub.crypto import KeyRing
from kafkahub.errors import Invalid
from subscriptions import cursor as codec
from subscriptions.cursor import NO_EPOCH, Cursor, TopicPosition, tag
from subscriptions.sealing import Sealer

OLD, NEW = bytes(range(32)), bytes(range(32, 64))
RING = KeyRing("k1", {"k1": NEW})


def place(offset: int = 5, partitions: int = 3) -> Cursor:
    offsets = dict.fromkeys(range(partitions), offset)
    return Cursor(tag("cluster"), 1_000, (TopicPosition(tag("orders"), NO_EPOCH, offsets),))


def sealed(cursor: Cursor, sealer: Sealer | None = None) -> str:
    token = (sealer or Sealer(RING, "alice", 670)).seal(cursor)
    assert token is not None
    return token


@given(offset=st.integers(0, 2**63 - 1), partitions=st.integers(1, 40))
def test_what_was_sealed_opens_again(offset: int, partitions: int) -> None:
    sealer = Sealer(RING, "alice", 670)

    assert sealer.open(sealed(place(offset, partitions))) == place(offset, partitions)


def test_its_length_says_nothing_of_the_offsets() -> None:
    assert len(sealed(place(0))) == len(sealed(place(2**60)))
    assert sealed(place(0)) != sealed(place(0))


def test_a_sealed_cursor_of_last_month_and_of_an_older_key_still_opens() -> None:
    before = sealed(place(), Sealer(KeyRing("k0", {"k0": OLD}), "alice", 669))
    both = KeyRing("k1", {"k1": NEW, "k0": OLD})

    assert Sealer(both, "alice", 670).open(before) == place()


@pytest.mark.parametrize(
    "token",
    [
        sealed(place(), Sealer(RING, "bob", 670)),
        sealed(place(), Sealer(KeyRing("k1", {"k1": OLD}), "alice", 670)),
        sealed(place())[:-4] + "AAAA",
        sealed(place())[:20],
        codec.FINAL_TOKEN,
        "",
    ],
    ids=["another partner's", "another ring's", "tampered", "cut", "final", "empty"],
)
def test_what_is_not_alices_is_refused_with_one_text(token: str) -> None:
    with pytest.raises(Invalid) as refused:
        Sealer(RING, "alice", 670).open(token)

    assert str(refused.value) == str(codec.refused())


@given(content=st.binary(max_size=200))
def test_no_bytes_make_it_fail_in_another_way(content: bytes) -> None:
    token = codec.written(codec.SEALED + content)

    with pytest.raises(Invalid):
        Sealer(RING, "alice", 670).open(token)


@given(
    text=st.text(max_size=60)
    | st.from_regex(r'\[\{"topic":"a","partition":\d{1,12}.*', fullmatch=False)
)
def test_no_text_makes_the_form_of_kafkasse_fail_in_another_way(text: str) -> None:
    try:
        codec.read_array(text)
    except Invalid as error:
        assert error.instance_code == "invalid_cursor"  # noqa: PT017 - some texts are positions
