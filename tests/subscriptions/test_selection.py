"""Which parts of a value are shown, and what stands where one is masked."""

import json
from collections.abc import Mapping

import pytest

from kafkahub.kafka.envelope import Undecodable
from subscriptions.masks import key_of, mask_of
from subscriptions.selection import build, select

KEY = key_of(bytes(range(32)), "ptn_alice")
ORDER = (
    b'{"id": 7, "total": 12.50, "huge": 123456789012345678901234567890, "customer": '
    b'{"name": "J\xc3\xa4n", "card": "4111111111111111"}, "items": [{"sku": "a", "price": 1.10}, '
    b'{"sku": "b"}], "note": "x"}'
)


def shown(
    raw: bytes, fields: list[str] | None = None, masks: Mapping[str, str] | None = None
) -> bytes:
    """Return what is seen of a value; masks by pointer."""
    named = {pointer: mask_of(mask, KEY) for pointer, mask in (masks or {}).items()}
    return select(raw, build(fields, named))


def test_only_listed_members_are_left_and_keep_their_spelling() -> None:
    fields = ["/id", "/total", "/huge", "/customer/name", "/items/*/price"]

    assert shown(ORDER, fields) == (
        b'{"id":7,"total":12.50,"huge":123456789012345678901234567890,'
        b'"customer":{"name":"J\xc3\xa4n"},"items":[{"price":1.10},{}]}'
    )


@pytest.mark.parametrize(
    ("raw", "fields", "seen"),
    [
        (b"5", ["/a"], b"null"),
        (b'"text"', ["/a"], b"null"),
        (b"[1,2]", ["/a"], b"null"),
        (b'[{"a":1}]', ["/a"], b"null"),
        (b'[{"a":1,"b":2}]', ["/*/a"], b'[{"a":1}]'),
        (b'{"a":{"b":1}}', ["/a/*/b"], b'{"a":{}}'),
        (b'{"a":[{"b":1,"c":2}]}', ["/a/b"], b"{}"),
        (b'{"a":1,"b":2}', ["/a", "/a/x"], b'{"a":1}'),
        (b'{"a/b":1,"m~n":2,"":3}', ["/a~1b", "/m~0n", "/"], b'{"a/b":1,"m~n":2,"":3}'),
        (b'{"a":1,"a":2}', ["/a"], b'{"a":2}'),
    ],
)
def test_what_has_another_shape_than_the_list_expects_is_gone(
    raw: bytes, fields: list[str], seen: bytes
) -> None:
    assert shown(raw, fields) == seen


@pytest.mark.parametrize(
    ("raw", "mask", "seen"),
    [
        (b'"4111111111111111"', "last4", b'"****1111"'),
        (b"4111111111111111", "last4", b'"****1111"'),
        (b'"1234567"', "last4", b'"****"'),
        (b'{"b":1}', "last4", b"null"),
        (b"true", "last4", b"null"),
        (b'"2026-11-23T04:00:00Z"', "year", b'"2026"'),
        (b'"soon"', "year", b"null"),
        (b"1795407540123", "year", b"null"),
        (b'"x"', "null", b"null"),
        (b"null", "hash", b"null"),
    ],
)
def test_a_mask_stands_for_the_value(raw: bytes, mask: str, seen: bytes) -> None:
    assert shown(b'{"a":%b}' % raw, None, {"/a": mask}) == b'{"a":%b}' % seen


def test_what_is_dropped_leaves_no_trace() -> None:
    assert shown(b'{"a":1,"b":[1,2]}', None, {"/a": "drop", "/b/*": "drop"}) == b'{"b":[]}'


@pytest.mark.parametrize(
    "raw",
    [
        b'{"c":{"e":"secret-12345678"}}',
        b'{"c":[{"e":"secret-12345678"}]}',
        b'{"c":[[{"e":"secret-12345678"}]]}',
        b'[{"c":{"e":"secret-12345678"}}]',
    ],
)
@pytest.mark.parametrize("pointer", ["/c/e", "/c/*/e"])
def test_a_mask_holds_whatever_shape_stands_in_its_way(raw: bytes, pointer: str) -> None:
    seen = shown(raw, None, {pointer: "last4"})

    assert b"secret" not in seen
    assert b"****5678" in seen


def test_a_mask_of_items_holds_for_what_stands_there_alone() -> None:
    for raw in (b'{"c":["secret"]}', b'{"c":"secret"}', b'{"c":{"x":"secret"}}'):
        assert b"secret" not in shown(raw, None, {"/c/*": "hash"})


def test_a_mask_below_a_listed_member_holds_and_an_outer_one_wins() -> None:
    raw = b'{"a":{"b":"secret-1234","c":1},"d":2}'

    assert shown(raw, ["/a"], {"/a/b": "null"}) == b'{"a":{"b":null,"c":1}}'
    assert shown(raw, ["/a/c"], {"/a": "null", "/a/c": "last4"}) == b'{"a":null}'


def test_hashes_are_stable_for_a_partner_and_useless_between_two() -> None:
    bob = key_of(bytes(range(32)), "ptn_bob")
    both = json.loads(shown(b'{"a":"x","b":"\\u0078"}', None, {"/a": "hash", "/b": "hash"}))
    other = select(b'{"a":"x"}', build(None, {"/a": mask_of("hash", bob)}))

    assert both["a"] == both["b"]
    assert both["a"] not in other.decode()


def test_hashes_of_objects_do_not_hang_on_the_order_of_members() -> None:
    one, two = (
        shown(b'{"a":%b}' % raw, None, {"/a": "hash"})
        for raw in (b'{"x":1,"y":2}', b'{"y":2, "x":1}')
    )

    assert one == two


@pytest.mark.parametrize(
    "raw", [b"", b"{", b'{"a":1}x', b'{"a":"\xff"}', b"[" * 100_000, b'{"\\ud800":1}']
)
def test_what_is_no_json_is_refused(raw: bytes) -> None:
    with pytest.raises(Undecodable):
        shown(raw, ["/a"])
