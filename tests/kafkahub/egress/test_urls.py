"""The URL table in all spellings: what is taken, in which form, and what is refused as what."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafkahub.egress import urls
from kafkahub.egress.addresses import AddressRules
from kafkahub.errors import Invalid


def faults_of(text: str, *, allow_http: bool = False, allow_loopback: bool = False) -> set[str]:
    with pytest.raises(Invalid) as caught:
        urls.parse(text, allow_http=allow_http, allow_loopback=allow_loopback)
    assert caught.value.instance_code == "url_not_allowed"
    assert {fault.pointer for fault in caught.value.faults} == {"/url"}
    return {fault.code for fault in caught.value.faults}


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("https://hooks.example.com", "https://hooks.example.com/"),
        ("HTTPS://Hooks.Example.COM./in?a=1", "https://hooks.example.com/in?a=1"),
        ("https://hooks.example.com:443/in", "https://hooks.example.com/in"),
        ("https://hooks.example.com:8443/in", "https://hooks.example.com:8443/in"),
        ("https://hooks.example.com:01024/", "https://hooks.example.com:1024/"),
        ("https://hooks.example.com?a=1", "https://hooks.example.com/?a=1"),
        ("https://bücher.example/", "https://xn--bcher-kva.example/"),
        ("https://xn--bcher-kva.example/", "https://xn--bcher-kva.example/"),
        ("https://r3---sn-a.example.com/", "https://r3---sn-a.example.com/"),
        ("https://8.8.8.8/a/../b", "https://8.8.8.8/a/../b"),
        ("https://[2606:4700:4700:0:0:0:0:1111]:8443/", "https://[2606:4700:4700::1111]:8443/"),
        ("https://a.example/%7Euser/%2e%2e", "https://a.example/%7Euser/%2e%2e"),
    ],
)
def test_a_good_url_gets_its_one_canonical_form(text: str, canonical: str) -> None:
    target = urls.parse(text, allow_http=False)

    assert target.url == canonical
    assert urls.parse(canonical, allow_http=False) == target


def test_the_target_names_its_parts() -> None:
    name = urls.parse("http://hooks.example.com/in?a=1", allow_http=True)
    literal = urls.parse("https://[2606:4700::1]:8443/", allow_http=False)

    assert (name.scheme, name.host, name.port, name.path) == (
        "http",
        "hooks.example.com",
        80,
        "/in?a=1",
    )
    assert name.address is None
    assert (literal.host, literal.address, literal.port) == ("2606:4700::1", "2606:4700::1", 8443)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "scheme"),
        ("hooks.example.com/in", "scheme"),
        ("//hooks.example.com/", "scheme"),
        (" https://hooks.example.com/", "scheme"),
        ("http://hooks.example.com/", "scheme"),
        ("file:///etc/passwd", "scheme"),
        ("gopher://hooks.example.com/", "scheme"),
        ("https:hooks.example.com", "scheme"),
        ("https://user@hooks.example.com/", "userinfo"),
        ("https://user:pass@hooks.example.com/", "userinfo"),
        ("https://@hooks.example.com/", "userinfo"),
        ("https://hooks.example.com/#part", "fragment"),
        ("https://hooks.example.com#", "fragment"),
        ("https:///x", "host"),
        ("https://", "host"),
        ("https://intranet/", "host"),
        ("https://localhost/", "host"),
        ("https://a..example.com/", "host"),
        ("https://.example.com/", "host"),
        ("https://example.com../", "host"),
        (f"https://{'a' * 64}.example.com/", "host"),
        (f"https://{'a.' * 127}example.com/", "host"),
        ("https://-a.example.com/", "host"),
        ("https://a_b.example.com/", "host"),
        ("https://exa mple.com/", "host"),
        ("https://example%2ecom/", "host"),
        ("https://example.com\x00.evil.example/", "host"),
        ("https://exa\tmple.com/", "host"),
        ("https://xn--a-ecp.example/", "host"),
        ("https://xn--.example/", "host"),
        ("https://\u202eexample.com/", "host"),
        ("https://2130706433/", "host"),
        ("https://0x7f000001/", "host"),
        ("https://0x7f.1/", "host"),
        ("https://127.1/", "host"),
        ("https://0177.0.0.1/", "host"),
        ("https://127.0.0.1./", "host"),
        ("https://256.1.1.1/", "host"),
        ("https://1.2.3.4.5/", "host"),
        ("https://\uff11\uff12\uff17.0.0.1/", "host"),
        ("https://[fe80::1%25eth0]/", "host"),
        ("https://[fe80::1%eth0]/", "host"),
        ("https://[::1/", "host"),
        ("https://[]/", "host"),
        ("https://[1.2.3.4]/", "host"),
        ("https://[2606:4700::1]x/", "host"),
        ("https://[v1.x]/", "host"),
        ("https://hooks.example.com:0/", "port"),
        ("https://hooks.example.com:80/", "port"),
        ("https://hooks.example.com:22/", "port"),
        ("https://hooks.example.com:99999/", "port"),
        ("https://hooks.example.com:-1/", "port"),
        ("https://hooks.example.com:/", "port"),
        ("https://hooks.example.com:443:444/", "port"),
        ("https://hooks.example.com:4 43/", "port"),
        ("https://hooks.example.com:\u0664\u0664\u0663/", "port"),
        ("https://hooks.example.com:6379/", "port"),
        ("https://hooks.example.com:27017/", "port"),
        ("https://hooks.example.com/a b", "path"),
        ("https://hooks.example.com/a\r\nHost: x", "path"),
        ("https://hooks.example.com\\@127.0.0.1/", "path"),
        ("https://hooks.example.com/\\x", "path"),
        ("https://hooks.example.com/%zz", "path"),
        ("https://hooks.example.com/ü", "path"),
        ("https://hooks.example.com/" + "a" * 2048, "too_long"),
        ("https://127.0.0.1/", "address_denied"),
        ("https://169.254.169.254/latest/", "address_denied"),
        ("https://[::1]/", "address_denied"),
        ("https://[::ffff:8.8.8.8]/", "address_denied"),
    ],
)
def test_a_bad_url_is_refused_as_what_it_is(text: str, fault: str) -> None:
    assert faults_of(text) == {fault}


def test_all_faults_of_a_url_are_told_at_once() -> None:
    found = faults_of("http://me:secret@127.0.0.1:22/a b#c")

    assert found == {"scheme", "userinfo", "address_denied", "port", "fragment", "path"}


def test_no_fault_repeats_what_was_typed() -> None:
    with pytest.raises(Invalid) as caught:
        urls.parse("https://me:topsecret@10.0.0.7:22/token", allow_http=False)

    for fault in caught.value.faults:
        assert not any(word in fault.message for word in ("topsecret", "10.0.0.7", "token"))


def test_our_own_hosts_are_refused() -> None:
    with pytest.raises(Invalid) as caught:
        urls.parse("https://HUB.example./", allow_http=False, own_hosts={"hub.example"})

    assert [fault.code for fault in caught.value.faults] == ["address_denied"]


def test_port_80_comes_with_the_switch_for_http() -> None:
    assert urls.parse("http://hooks.example.com/", allow_http=True).port == 80
    assert urls.parse("https://hooks.example.com:80/", allow_http=True).port == 80


def test_loopback_needs_its_switch() -> None:
    for text in ("http://localhost:8099/", "http://127.0.0.1:8099/", "http://[::1]:8099/"):
        assert urls.parse(text, allow_http=True, allow_loopback=True).url == text


def test_the_operators_list_is_the_judge_of_literal_addresses() -> None:
    rules = AddressRules(allow_loopback=True)

    assert urls.parse("https://127.0.0.1/", allow_http=False, rules=rules).address == "127.0.0.1"


@given(st.text(max_size=80).map(lambda text: "https://" + text))
def test_any_text_is_taken_in_one_form_or_refused(text: str) -> None:
    try:
        target = urls.parse(text, allow_http=False)
    except Invalid:
        return
    assert target.url.isascii()
    assert urls.parse(target.url, allow_http=False) == target
