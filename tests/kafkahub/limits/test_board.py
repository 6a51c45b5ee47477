"""What a process puts up is read by all, and vanishes with it."""

from uuid import uuid4

import pytest

from kafkahub.limits.board import Board, BoardAway


@pytest.fixture
def name() -> str:
    return f"test-{uuid4()}"


def test_each_process_has_its_own_notes_and_all_are_read(redis_url: str, name: str) -> None:
    one, two = Board(redis_url, name), Board(redis_url, name)

    one.put("web-1", {"a": b"1", "b": b"2"}, life_s=15)
    two.put("web-2", {"a": b"3"}, life_s=15)

    assert sorted(one.read("a")) == [b"1", b"3"]
    assert one.read("b") == [b"2"]
    assert one.read("c") == []
    assert sorted(two.read()) == [b"1", b"2", b"3"]
    one.close()
    two.close()


def test_new_notes_replace_the_old_ones_and_none_take_them_down(redis_url: str, name: str) -> None:
    board = Board(redis_url, name)
    board.put("web-1", {"a": b"1", "b": b"2"}, life_s=15)

    board.put("web-1", {"b": b"3"}, life_s=15)
    replaced = board.read()
    board.put("web-1", {}, life_s=15)

    assert replaced == [b"3"]
    assert board.read() == []
    board.close()


def test_notes_of_a_dead_process_are_no_longer_looked_for(redis_url: str, name: str) -> None:
    now_s = 1_767_225_600.0
    board = Board(redis_url, name, clock=lambda: now_s)
    board.put("web-1", {"a": b"1"}, life_s=15)

    now_s += 16

    assert board.read("a") == []
    board.close()


def test_a_redis_that_is_away_is_said_so_and_not_waited_for() -> None:
    board = Board("redis://127.0.0.1:1/0", "streams")

    with pytest.raises(BoardAway):
        board.read()
    with pytest.raises(BoardAway):
        board.put("web-1", {"a": b"1"}, life_s=15)
