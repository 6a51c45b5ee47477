"""Origins are taken exactly or not at all."""

import pytest

from kafkahub.errors import Invalid
from subscriptions import cors


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("https://shop.example.com", "https://shop.example.com"),
        ("HTTPS://Shop.Example.COM", "https://shop.example.com"),
        ("https://shop.example.com:443", "https://shop.example.com"),
        ("http://shop.example.com:80", "http://shop.example.com"),
        ("https://shop.example.com:8443", "https://shop.example.com:8443"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("http://[::1]:3000", "http://[::1]:3000"),
    ],
)
def test_an_origin_is_kept_as_browsers_write_it(given: str, kept: str) -> None:
    assert cors.canonical(given) == kept
    assert cors.canonical(kept) == kept


@pytest.mark.parametrize(
    "given",
    [
        "",
        "*",
        "null",
        "https://*",
        "https://*.example.com",
        "shop.example.com",
        "//shop.example.com",
        "https://",
        "https://shop.example.com/",
        "https://shop.example.com/path",
        "https://shop.example.com?x",
        "https://shop.example.com#x",
        "https://user@shop.example.com",
        "https://shop.example.com:99999",
        "https://shop.example.com:",
        "https://shop.example.com:x",
        "ftp://shop.example.com",
        "javascript:alert(1)",
        "https://shop.example.com\r\nset-cookie: a",
        "https://[::1",
        "https://" + "a" * 300,
    ],
)
def test_what_is_no_plain_origin_is_refused(given: str) -> None:
    with pytest.raises(Invalid) as refused:
        cors.canonical(given)

    assert refused.value.instance_code == "not_an_origin"


@pytest.mark.parametrize(
    ("origin", "is_allowed"),
    [
        ("https://shop.example.com", True),
        ("https://shop.example.com.evil.example", False),
        ("https://evilshop.example.com", False),
        ("http://shop.example.com", False),
        ("https://shop.example.com:8443", False),
        ("HTTPS://shop.example.com", False),
        ("null", False),
        ("", False),
    ],
)
def test_only_the_very_origin_is_allowed(origin: str, *, is_allowed: bool) -> None:
    assert cors.is_allowed(origin, {"https://shop.example.com", "null"}) == is_allowed


def test_credentials_are_allowed_only_where_a_cookie_came() -> None:
    plain = cors.answer_headers("https://shop.example.com", has_cookie=False)
    cookie = cors.answer_headers("https://shop.example.com", has_cookie=True)

    assert "Access-Control-Allow-Credentials" not in plain
    assert cookie == {**plain, "Access-Control-Allow-Credentials": "true"}
    assert plain["Access-Control-Allow-Origin"] == "https://shop.example.com"
