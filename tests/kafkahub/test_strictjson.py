"""JSON from outside: what is taken is exact, and what is not has its place."""

import json

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kafkahub.errors import Fault, Invalid
from kafkahub.jsonscan import MAX_FAULTS, Place
from kafkahub.strictjson import find_faults, find_places, loads

INT_MIN, INT_MAX = -(2**63), 2**63 - 1


def faults_of(body: bytes) -> list[Fault]:
    with pytest.raises(Invalid) as refused:
        loads(body)
    return list(refused.value.faults)


def place(fault: Fault) -> Place:
    return Place(**fault.more)  # type: ignore[arg-type]  # more holds just these three


documents = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(INT_MIN, INT_MAX)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(
            st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), inner
        )
    ),
    max_leaves=30,
)


@given(documents, st.booleans(), st.sampled_from([None, 1]))
def test_a_document_is_read_as_it_was_written(
    document: object, is_ascii: bool, indent: int | None
) -> None:
    body = json.dumps(document, ensure_ascii=is_ascii, indent=indent).encode()

    assert loads(body) == document
    assert find_faults(body) == []


@given(st.binary(max_size=40) | st.text('{}[]":,0123456789.eE+-truefalsn\\u d8\n').map(str.encode))
def test_no_bytes_give_anything_but_a_value_or_faults(body: bytes) -> None:
    try:
        value = loads(body)
    except Invalid:
        offsets = [place(fault).offset for fault in faults_of(body)]
        assert 1 <= len(offsets) <= MAX_FAULTS
        assert 0 <= min(offsets) <= max(offsets) <= len(body)
    else:
        assert value == json.loads(body)
        assert find_faults(body) == []


@given(documents, st.data())
def test_a_document_cut_anywhere_is_refused_or_a_number_cut_short(
    document: object, data: st.DataObject
) -> None:
    body = json.dumps(document).encode()
    end = data.draw(st.integers(0, len(body) - 1))
    assume(not isinstance(document, int | float))

    assert faults_of(body[:end])


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", ("", 1, 1, 0)),
        (b" \n ", ("", 2, 2, 3)),
        (b'{"a":1', ("", 1, 7, 6)),
        (b'{"a":', ("/a", 1, 6, 5)),
        (b"{", ("", 1, 2, 1)),
        (b'"abc', ("", 1, 5, 4)),
        (b"1 2", ("", 1, 3, 2)),
        (b'{"a":1}}', ("", 1, 8, 7)),
        (b"[1,]", ("/1", 1, 4, 3)),
        (b'{"a":1,}', ("", 1, 8, 7)),
        (b"[1 2]", ("", 1, 4, 3)),
        (b'{"a" 1}', ("/a", 1, 6, 5)),
        (b"{a:1}", ("", 1, 2, 1)),
        (b"{'a':1}", ("", 1, 2, 1)),
        (b"tru", ("", 1, 1, 0)),
        (b"01", ("", 1, 1, 0)),
        (b"+1", ("", 1, 1, 0)),
        (b".5", ("", 1, 1, 0)),
        (b"5.", ("", 1, 1, 0)),
        (b"-", ("", 1, 1, 0)),
        (b"[NaN]", ("/0", 1, 2, 1)),
        (b"[Infinity]", ("/0", 1, 2, 1)),
        (b"[-Infinity]", ("/0", 1, 2, 1)),
        (b'["\\q"]', ("/0", 1, 3, 2)),
        (b'["\\u12"]', ("/0", 1, 3, 2)),
        (b'"a\nb"', ("", 1, 3, 2)),
        (b'"\x00"', ("", 1, 1, 0)),
        (b'{"\xff":1}', ("", 1, 3, 2)),
        (b'"\xed\xa0\x80"', ("", 1, 2, 1)),
        (b'"\xc0\xaf"', ("", 1, 2, 1)),
        (b"\xef\xbb\xbf{}", ("", 1, 1, 0)),
        ("{}".encode("utf-16"), ("", 1, 1, 0)),
        ("{}".encode("utf-16-le"), ("", 1, 1, 0)),
        ("{}".encode("utf-16-be"), ("", 1, 1, 0)),
        ("{}".encode("utf-32"), ("", 1, 1, 0)),
        ('{\n "é": "é" x}'.encode(), ("", 2, 11, 14)),
        (b'["\\u0000"]', ("/0", 1, 3, 2)),
        (b'{"a\\u0000":1}', ("", 1, 4, 3)),
        (b'["\\ud800"]', ("/0", 1, 3, 2)),
        (b'["\\udc00"]', ("/0", 1, 3, 2)),
        (b'["\\ud800\\u0041"]', ("/0", 1, 3, 2)),
        (b'{"\\ud800":1}', ("", 1, 3, 2)),
    ],
)
def test_what_is_no_json_is_refused_with_its_place(
    body: bytes, expected: tuple[str, int, int, int]
) -> None:
    [fault] = faults_of(body)

    assert fault.code == "invalid_json"
    assert (fault.pointer, *place(fault)) == expected


@pytest.mark.parametrize(
    "body",
    [
        b"9223372036854775808",
        b"-9223372036854775809",
        b"18446744073709551616",
        b"1" * 5_000,
        b"-" + b"9" * 5_000,
        b"1e999",
        b"-1e999",
        b"9" * 400 + b".5",
    ],
)
def test_a_number_that_nothing_can_hold_is_refused(body: bytes) -> None:
    [fault] = faults_of(b'{"a":[0,' + body + b"]}")

    assert (fault.code, fault.pointer, place(fault)) == ("out_of_range", "/a/1", Place(1, 9, 8))


def test_the_largest_and_smallest_integers_are_taken() -> None:
    assert loads(f"[{INT_MIN},{INT_MAX}]".encode()) == [INT_MIN, INT_MAX]


@pytest.mark.parametrize(
    ("body", "pointer", "offset"),
    [
        (b'{"a":1,"a":2}', "/a", 7),
        (b'{"a":1,"\\u0061":1}', "/a", 7),
        (b'{"x":[{"a:b":1,"c":2,"a:b":{}}]}', "/x/0/a:b", 21),
        (b'{"url":"https://a:1/","url":""}', "/url", 22),
        (b'{"a/b~":1,"a/b~":1}', "/a~1b~0", 10),
    ],
)
def test_a_doubled_member_is_refused(body: bytes, pointer: str, offset: int) -> None:
    [fault] = faults_of(body)

    assert (fault.code, fault.pointer, place(fault).offset) == ("duplicate_key", pointer, offset)


@given(documents.filter(lambda document: isinstance(document, dict) and document != {}))
def test_a_doubled_member_is_found_in_any_object(document: dict[str, object]) -> None:
    members = [f"{json.dumps(name)}:{json.dumps(value)}" for name, value in document.items()]
    body = "{" + ",".join([*members, members[0]]) + "}"

    assert [fault.code for fault in faults_of(body.encode())] == ["duplicate_key"]


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
@pytest.mark.parametrize("depth", [65, 900, 100_000])
def test_a_body_that_is_too_deep_is_refused_where_it_becomes_so(opening: bytes, depth: int) -> None:
    [fault] = faults_of(opening * depth)

    assert fault.code == "too_deep"
    assert place(fault).offset == 64 * len(opening)


def test_a_body_as_deep_as_allowed_is_taken() -> None:
    assert loads(b"[" * 64 + b"]" * 64) is not None
    assert [fault.code for fault in faults_of(b"[" * 65 + b"]" * 65)] == ["too_deep"]
    with pytest.raises(Invalid):
        loads(b"[[]]", max_depth=1)


def test_all_faults_are_named_at_once() -> None:
    body = b'{"a":NaN,"a":"\\u0000","b":99999999999999999999,"c":["\\ud800"]}'

    assert [(fault.code, fault.pointer) for fault in faults_of(body)] == [
        ("invalid_json", "/a"),
        ("duplicate_key", "/a"),
        ("invalid_json", "/a"),
        ("out_of_range", "/b"),
        ("invalid_json", "/c/0"),
    ]


def test_the_answer_does_not_grow_with_the_body() -> None:
    name = "n" * 100_000
    body = f'{{"{name}":[{",".join(["NaN"] * 1_000)}]}}'

    faults = faults_of(body.encode())

    assert len(faults) == MAX_FAULTS
    assert all(len(fault.pointer) < 200 for fault in faults)


def test_a_pair_of_surrogates_is_one_character() -> None:
    assert loads(b'"\\ud83d\\ude00"') == "😀"


def test_an_error_never_shows_what_was_sent() -> None:
    [fault] = faults_of(b'{"password": s3cret}')

    assert "s3cret" not in fault.message


def test_pointers_are_found_in_the_text() -> None:
    body = b'{\n "a": [1, {"b/c": 2}],\n "": 0}'

    assert find_places(body, ["", "/a", "/a/1/b~1c", "/a/0", "/", "/x"]) == {
        "": Place(1, 1, 0),
        "/a": Place(2, 2, 3),
        "/a/0": Place(2, 8, 9),
        "/a/1/b~1c": Place(2, 12, 13),
        "/": Place(3, 2, 26),
    }
