"""The resolver against a DNS server that answers, lies, or keeps silent."""

import queue
import time
from collections.abc import Iterator

import pytest

from kafkahub.egress import resolver as module
from kafkahub.egress.addresses import AddressRules
from kafkahub.egress.resolver import Resolution, Resolver
from tests.fakes.dns import REFUSED, SERVFAIL, TYPE_A, TYPE_AAAA, FakeDns, Says, says

PUBLIC = "93.184.215.14"
PUBLIC_V6 = "2606:4700:4700::1111"


@pytest.fixture
def dns() -> Iterator[FakeDns]:
    with FakeDns() as server:
        yield server


@pytest.fixture
def resolver(dns: FakeDns) -> Iterator[Resolver]:
    made = Resolver(AddressRules(), [dns.server])
    yield made
    made.close()


def test_both_families_are_asked_for_and_given(dns: FakeDns, resolver: Resolver) -> None:
    dns.script("hooks.example", says(PUBLIC, PUBLIC_V6))

    found = resolver.resolve("hooks.example")

    assert found.fault is None
    assert set(found.addresses) == {PUBLIC, PUBLIC_V6}


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (Says(rcode=3), "dns_not_found"),
        (Says(), "dns_not_found"),
        (Says(loop=True), "dns_not_found"),
        (Says(rcode=SERVFAIL), "dns_failed"),
        (Says(rcode=REFUSED), "dns_failed"),
        (Says(silent=True), "dns_timeout"),
        (Says(junk=True), "dns_failed"),
        (says("127.0.0.1"), "address_denied"),
        (says("10.0.0.1"), "address_denied"),
        (says("::1"), "address_denied"),
        (says("64:ff9b::7f00:1"), "address_denied"),
        (says("::ffff:127.0.0.1"), "address_denied"),
        (says(PUBLIC, "169.254.169.254"), "address_denied"),
        (says(PUBLIC, "::ffff:10.0.0.1"), "address_denied"),
        (says(*[f"8.8.4.{last}" for last in range(99)], "10.0.0.1"), "address_denied"),
    ],
)
def test_what_cannot_be_dialled_has_a_named_fault(
    dns: FakeDns, resolver: Resolver, answer: Says, fault: str
) -> None:
    dns.script("hooks.example", answer)

    found = resolver.resolve("hooks.example", deadline_s=10)

    assert (found.addresses, found.fault) == ((), fault)


def test_a_flood_of_addresses_is_cut(dns: FakeDns, resolver: Resolver) -> None:
    dns.script("hooks.example", says(*[f"8.8.4.{last}" for last in range(100)]))

    assert len(resolver.resolve("hooks.example").addresses) == module.MAX_ADDRESSES


@pytest.mark.parametrize(("ttl_s", "kept_s"), [(0, 5), (30, 30), (86_400, 60)])
def test_an_answer_is_believed_within_bounds(
    dns: FakeDns, resolver: Resolver, ttl_s: int, kept_s: int
) -> None:
    dns.script("hooks.example", says(PUBLIC, ttl_s=ttl_s))

    found = resolver.resolve("hooks.example")

    left_s = found.expires - time.monotonic()
    assert kept_s - 5 < left_s <= kept_s


def test_a_known_name_is_not_asked_for_again(dns: FakeDns, resolver: Resolver) -> None:
    dns.script("hooks.example", says(PUBLIC))
    assert resolver.peek("hooks.example") is None

    first = resolver.resolve("hooks.example")

    assert resolver.resolve("hooks.example") is first
    assert resolver.peek("hooks.example") is first
    assert dns.asked == {("hooks.example", TYPE_A): 1, ("hooks.example", TYPE_AAAA): 1}


def test_everybody_who_waits_for_one_name_shares_one_look_up(
    dns: FakeDns, resolver: Resolver
) -> None:
    dns.script("hooks.example", says(PUBLIC))
    answers: queue.Queue[Resolution] = queue.Queue()

    for _ in range(50):
        resolver.lookup("hooks.example", answers.put)

    assert len({answers.get(timeout=10) for _ in range(50)}) == 1
    assert dns.asked["hooks.example", TYPE_A] == 1


def test_dead_names_of_one_partner_hold_up_nobody_else(dns: FakeDns, resolver: Resolver) -> None:
    answers: queue.Queue[Resolution] = queue.Queue()
    for number in range(module.MAX_PER_OWNER + 5):
        dns.script(f"dead{number}.example", Says(silent=True))
        resolver.lookup(f"dead{number}.example", answers.put, owner="ptn_dead")
    dns.script("hooks.example", says(PUBLIC))

    found = resolver.resolve("hooks.example", owner="ptn_alive")

    assert found.addresses == (PUBLIC,)
    assert len({name for name, _ in dns.asked}) <= module.MAX_PER_OWNER + 1
    assert answers.empty()


def test_look_ups_over_the_limit_of_a_partner_come_later(dns: FakeDns, resolver: Resolver) -> None:
    answers: queue.Queue[Resolution] = queue.Queue()
    for number in range(module.MAX_PER_OWNER * 3):
        dns.script(f"h{number}.example", says(PUBLIC))
        resolver.lookup(f"h{number}.example", answers.put, owner="ptn_1")

    found = [answers.get(timeout=10) for _ in range(module.MAX_PER_OWNER * 3)]

    assert all(one.addresses == (PUBLIC,) for one in found)


def test_a_new_name_is_not_dead_for_as_long_as_its_zone_says(dns: FakeDns) -> None:
    dns.script("new.example", Says(rcode=3, soa_ttl_s=3600), says(PUBLIC))
    forgetful = Resolver(AddressRules(), [dns.server], negative_s=0)
    try:
        assert forgetful.resolve("new.example").fault == "dns_not_found"
        while (found := forgetful.resolve("new.example")).fault:
            assert found.fault == "dns_not_found"  # c-ares forgets in the background
        assert found.addresses == (PUBLIC,)
    finally:
        forgetful.close()


@pytest.mark.parametrize("literal", ["8.8.8.8", PUBLIC_V6])
def test_a_literal_address_never_goes_to_dns(
    dns: FakeDns, resolver: Resolver, literal: str
) -> None:
    assert resolver.resolve(literal) == Resolution((literal,), module.FOREVER)
    assert not dns.asked


@pytest.mark.parametrize("literal", ["127.0.0.1", "10.0.0.1", "::1"])
def test_a_denied_literal_address_is_refused(resolver: Resolver, literal: str) -> None:
    assert resolver.resolve(literal).fault == "address_denied"


def test_localhost_is_known_only_with_its_switch(dns: FakeDns, resolver: Resolver) -> None:
    open_one = Resolver(AddressRules(allow_loopback=True), [dns.server])
    try:
        assert open_one.resolve("localhost").addresses == ("127.0.0.1",)
        assert not dns.asked
    finally:
        open_one.close()
    assert resolver.resolve("localhost").fault == "dns_not_found"


def test_a_text_that_is_no_name_is_a_fault_and_no_crash(resolver: Resolver) -> None:
    for text in ("", "a..b", "é.example", "x" * 300):
        assert resolver.resolve(text).fault


def test_closing_leaves_nobody_waiting(dns: FakeDns) -> None:
    dns.script("dead.example", Says(silent=True))
    closing = Resolver(AddressRules(), [dns.server])
    answers: queue.Queue[Resolution] = queue.Queue()
    closing.lookup("dead.example", answers.put)

    closing.close()

    assert answers.get(timeout=10).fault == "dns_failed"
    assert closing.resolve("other.example").fault == "dns_failed"


def test_only_the_newest_names_are_remembered(dns: FakeDns, resolver: Resolver) -> None:
    answers: queue.Queue[Resolution] = queue.Queue()
    count = module.MAX_NAMES + 10
    for number in range(count):
        resolver.lookup(f"n{number}.example", answers.put)
    for _ in range(count):
        answers.get(timeout=60)

    assert len(resolver._known) <= module.MAX_NAMES
