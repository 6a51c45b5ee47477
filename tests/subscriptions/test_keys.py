"""The written form of API keys."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subscriptions import keys


def make(mode: keys.Mode = "live", seed: int = 7) -> str:
    chance = random.Random(seed)  # noqa: S311 - the same key in every run
    return keys.make(mode, chance.randrange).whole


@pytest.mark.parametrize("mode", ["live", "test"])
def test_a_key_has_69_characters_and_reads_back(mode: keys.Mode) -> None:
    made = make(mode)

    assert len(made) == keys.LENGTH == 69
    parsed = keys.parse(made)
    assert parsed is not None
    assert (parsed.mode, parsed.whole) == (mode, made)
    assert made.startswith(f"khk_{mode}_{parsed.public_id}_")


def test_the_check_sum_is_crc32_of_all_before_in_base62() -> None:
    written = keys.check_sum("123456789")
    number = 0
    for character in written:
        number = number * 62 + keys.ALPHABET.index(character)

    assert number == 0xCBF43926  # the published check value of CRC-32
    assert keys.check_sum("") == "000000"


@given(at=st.integers(0, keys.LENGTH - 1), to=st.characters())
def test_any_one_changed_character_is_refused(at: int, to: str) -> None:
    made = make()
    changed = made[:at] + to + made[at + 1 :]

    assert changed == made or keys.parse(changed) is None


@pytest.mark.parametrize("text", ["", "khk_live_", make()[:-1], make() + "0", " " + make()[1:]])
def test_another_length_or_form_is_refused(text: str) -> None:
    assert keys.parse(text) is None


def test_basic_takes_the_whole_key_in_either_place_or_in_two_parts() -> None:
    made = make()
    front, secret = made[:21], made[22:]

    assert keys.join(made, "") == keys.join("anybody", made) == keys.join(front, secret) == made
