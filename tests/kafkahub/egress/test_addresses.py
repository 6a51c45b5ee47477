"""The address policy in every spelling."""

import socket
from ipaddress import IPv4Network, IPv6Network, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafkahub.egress.addresses import (
    IPV4_DENIED,
    IPV6_ALLOWED,
    IPV6_DENIED,
    MAX_VERDICTS,
    AddressRules,
)

PUBLIC = ["1.1.1.1", "8.8.8.8", "93.184.215.14", "172.15.255.255", "172.32.0.0", "100.128.0.1"]
PUBLIC_V6 = ["2606:4700:4700::1111", "2a00:1450:4001:82a::200e", "2001:4860:4860::8888"]
DENIED_V6 = [
    "::",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:8.8.8.8",
    "::127.0.0.1",
    "64:ff9b::127.0.0.1",
    "64:ff9b::8.8.8.8",
    "64:ff9b:1::10.0.0.1",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::1",
    "2001::1",
    "2001:1ff::1",
    "2001:db8::1",
    "2620:4f:8000::1",
    "3fff::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
    "4000::1",
    "100::1",
]


@pytest.mark.parametrize("address", [*PUBLIC, *PUBLIC_V6])
def test_public_addresses_may_be_dialled(address: str) -> None:
    assert not AddressRules().is_denied(address)
    assert not AddressRules().is_denied(ip_address(address).packed)


@pytest.mark.parametrize("network", IPV4_DENIED, ids=str)
def test_every_denied_ipv4_network_is_denied_to_its_edges(network: IPv4Network) -> None:
    rules = AddressRules()

    assert rules.is_denied(str(network[0]))
    assert rules.is_denied(str(network[-1]))
    assert rules.is_denied(network[0].packed)


@pytest.mark.parametrize("network", IPV6_DENIED, ids=str)
def test_every_denied_ipv6_network_is_denied_to_its_edges(network: IPv6Network) -> None:
    assert AddressRules().is_denied(str(network[0]))
    assert AddressRules().is_denied(str(network[-1]))


@pytest.mark.parametrize("address", DENIED_V6)
def test_everything_that_is_not_plain_global_unicast_is_denied(address: str) -> None:
    assert AddressRules().is_denied(address)


@pytest.mark.parametrize(
    "text",
    ["", "127.1", "0x7f.0.0.1", "2130706433", "0177.0.0.1", "127.0.0.01", "localhost", " 8.8.8.8"],
)
def test_what_is_no_canonical_address_is_denied(text: str) -> None:
    assert AddressRules().is_denied(text)


@pytest.mark.parametrize("packed", [b"", b"\x08\x08", b"8.8.8.8.8.8.8"])
def test_packed_bytes_of_a_wrong_length_are_denied(packed: bytes) -> None:
    assert AddressRules().is_denied(packed)


@given(st.ip_addresses(v=4))
def test_no_ipv6_form_of_an_ipv4_address_is_a_way_round(address: object) -> None:
    packed = socket.inet_aton(str(address))
    rules = AddressRules()

    assert rules.is_denied(b"\0" * 10 + b"\xff\xff" + packed)
    assert rules.is_denied(b"\0" * 12 + packed)
    assert rules.is_denied(b"\x20\x02" + packed + b"\0" * 10)
    assert rules.is_denied(bytes.fromhex("0064ff9b") + b"\0" * 8 + packed)


@given(st.ip_addresses(v=6, network=str(IPV6_ALLOWED)))
def test_text_and_packed_form_get_the_same_verdict(address: object) -> None:
    rules = AddressRules()

    assert rules.is_denied(str(address)) == rules.is_denied(ip_address(str(address)).packed)


def test_loopback_is_allowed_only_by_its_switch() -> None:
    rules = AddressRules(allow_loopback=True)

    assert not rules.is_denied("127.0.0.1")
    assert not rules.is_denied("::1")
    assert rules.is_denied("::ffff:127.0.0.1")
    assert rules.is_denied("10.0.0.1")


def test_the_denied_list_wins_over_everything() -> None:
    private = IPv4Network("10.0.0.0/8")
    rules = AddressRules(allow_loopback=True, allow=[private], deny=[IPv4Network("10.1.0.0/16")])

    assert not rules.is_denied("10.2.0.1")
    assert rules.is_denied("10.1.0.1")
    assert AddressRules(deny=[IPv4Network("8.8.8.0/24")]).is_denied("8.8.8.8")


def test_an_allowed_nat64_prefix_is_no_way_round_the_ipv4_rules() -> None:
    rules = AddressRules(allow=[IPv6Network("64:ff9b::/96")])

    assert not rules.is_denied("64:ff9b::8.8.8.8")
    assert rules.is_denied("64:ff9b::127.0.0.1")
    assert rules.is_denied("64:ff9b::10.0.0.1")


def test_a_verdict_does_not_change_when_the_memory_starts_anew() -> None:
    rules = AddressRules()
    everyone = (IPv4Network("10.0.0.0/8")[number] for number in range(MAX_VERDICTS + 2))

    assert not rules.is_denied("8.8.8.8")
    assert all(rules.is_denied(str(address)) for address in everyone)
    assert not rules.is_denied("8.8.8.8")
