# ruff: noqa: ARG002 - stand-ins take what the real ones take
from dataclasses import dataclass, field

import pytest

from gateway.gate import Gate, network_of
from kafkahub.errors import Overloaded, QuotaExceeded, RateLimited
from kafkahub.limits.headers import Refusal
from subscriptions.grants import Principal

ALICE = Principal("ptn_1", "key", "key_1", "k", "live", frozenset(), None, 0)


@dataclass
class Counts:
    """Counts streams, and refuses beyond ``cap``."""

    cap: int = 1_000
    names: list[str] = field(default_factory=list)

    def open(self, principal: Principal, address: str) -> Refusal | None:
        if len(self.names) >= self.cap:
            return Refusal(5.0, ("open-streams",))
        self.names.append(address)
        return None

    def close(self, principal: Principal, address: str) -> None:
        self.names.remove(address)


def gate(counts: Counts | None = None, most: int = 1_000) -> tuple[Gate, list[float]]:
    clock = [0.0]
    made = Gate(counts or Counts(), lambda *_: None, most, now_s=lambda: clock[0])
    return made, clock


def test_a_key_may_open_fifty_at_once_and_then_ten_a_second() -> None:
    made, clock = gate()
    for _ in range(50):
        made.admit(ALICE, "192.0.2.1")

    with pytest.raises(RateLimited):
        made.admit(ALICE, "192.0.2.1")
    clock[0] = 0.1

    made.admit(ALICE, "192.0.2.1")


def test_what_is_refused_is_not_counted() -> None:
    counts = Counts(cap=1)
    made, _ = gate(counts)
    made.admit(ALICE, "192.0.2.1")

    with pytest.raises(QuotaExceeded):
        made.admit(ALICE, "192.0.2.1")
    made.leave(ALICE, "192.0.2.1")

    assert (made.open, counts.names) == (0, [])


def test_a_full_process_sends_clients_elsewhere() -> None:
    made, _ = gate(most=1)
    made.admit(ALICE, "192.0.2.1")

    with pytest.raises(Overloaded):
        made.admit(ALICE, "192.0.2.2")


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2::9", "2001:db8:1:2::"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("", ""),
    ],
)
def test_an_address_of_ipv6_counts_as_its_network(address: str, counted: str) -> None:
    assert network_of(address) == counted
