"""An address is tried step by step, and told in words, before it is an endpoint."""

import socket

import pytest

from tests.api import Caller, json_of
from tests.e2e.receiver import receiving

pytestmark = pytest.mark.django_db


def steps(alice: Caller, url: str) -> dict[str, tuple[bool | None, str]]:
    told = json_of(alice.post("/endpoints/check", {"url": url}))
    return {one["name"]: (one["ok"], one["text"]) for one in told["checks"]}


def test_an_address_that_answers_passes(alice: Caller) -> None:
    with receiving() as receiver:
        found = steps(alice, receiver.url)

    assert [found[name][0] for name in ("URL", "DNS", "TCP", "HTTP")] == [True] * 4
    assert found["Ownership"][0] is None


def test_a_closed_port_is_told(alice: Caller) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]

        found = steps(alice, f"http://127.0.0.1:{port}/hook")

    assert found["TCP"] == (
        False,
        f"Port {port} is closed: nothing listens there, or a firewall rejects us.",
    )
    assert found["HTTP"][0] is None


def test_what_is_no_address_goes_no_further(alice: Caller) -> None:
    found = steps(alice, "ftp://hooks.example.com/in")

    assert found["URL"][0] is False
    assert found["DNS"] == (None, "")


def test_nobody_feels_out_the_internet_with_us(alice: Caller) -> None:
    answers = [
        alice.post("/endpoints/check", {"url": "ftp://hooks.example.com/in"}) for _ in range(11)
    ]

    assert [one.status_code for one in answers].count(429) >= 1
