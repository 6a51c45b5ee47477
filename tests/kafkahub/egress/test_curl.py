"""A transfer against a real server that behaves badly in every way we know."""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from ssl import SSLContext

import pycurl
import pytest

from kafkahub.egress import curl, urls
from kafkahub.egress.addresses import AddressRules
from kafkahub.egress.curl import Answer, Method, Pins, Profile, Transfer
from kafkahub.egress.urls import Target
from tests.fakes import certificates, endpoint
from tests.fakes.endpoint import Behaviour, Endpoint, answers

LOOPBACK = ("127.0.0.1",)
TIMEOUT_MS = 20_000
SHORT_MS = 400
"""For what would last for ever; long enough that a busy machine gets as far as it should."""
OPEN_RULES = AddressRules(allow_loopback=True)
PROFILE = Profile(OPEN_RULES, allow_http=True)
HEADERS = [*curl.TRANSPORT_HEADERS, "content-type: application/json", "webhook-id: msg_1"]


@pytest.fixture
def transfer() -> Iterator[Transfer]:
    with closing(Transfer(PROFILE, Pins())) as made:
        yield made


def target_of(url: str) -> Target:
    return urls.parse(url, allow_http=True, allow_loopback=True)


def send(
    transfer: Transfer,
    url: str,
    *,
    timeout_ms: int = TIMEOUT_MS,
    method: Method = "POST",
    body: bytes = b"{}",
    addresses: tuple[str, ...] = LOOPBACK,
) -> Answer:
    transfer.prepare(
        target_of(url),
        addresses,
        HEADERS,
        body,
        timeout_ms=timeout_ms,
        connect_timeout_ms=timeout_ms,
        method=method,
    )
    return perform(transfer)


def perform(transfer: Transfer) -> Answer:
    try:
        transfer.easy.perform()
    except pycurl.error as error:
        return transfer.answer(*error.args)
    return transfer.answer()


def answer_to(behaviour: Behaviour, *, timeout_ms: int = TIMEOUT_MS) -> Answer:
    with Endpoint(behaviour) as server, closing(Transfer(PROFILE, Pins())) as transfer:
        return send(transfer, server.url, timeout_ms=timeout_ms)


def test_a_request_arrives_as_it_was_given(transfer: Transfer) -> None:
    with Endpoint() as server:
        answer = send(transfer, server.url + "?a=1", body=b'{"id":7}')

        (request,) = server.received
    assert (answer.status, answer.outcome, answer.note) == (200, None, None)
    assert (answer.body, answer.excerpt) == (b"ok", "ok")
    assert (request.method, request.path, request.body) == ("POST", "/in?a=1", b'{"id":7}')
    assert request.headers == {
        "host": f"localhost:{server.port}",
        "user-agent": curl.USER_AGENT,
        "accept": "*/*",
        "accept-encoding": "identity",
        "content-type": "application/json",
        "webhook-id": "msg_1",
        "content-length": "8",
    }


def test_a_large_body_is_sent_without_asking_first(transfer: Transfer) -> None:
    with Endpoint() as server:
        answer = send(transfer, server.url, body=b"x" * (3 * endpoint.MIB))

        assert "expect" not in server.received[0].headers
        assert len(server.received[0].body) == 3 * endpoint.MIB
    assert answer.status == 200


def test_one_handle_sends_by_every_method(transfer: Transfer) -> None:
    methods: list[Method] = ["POST", "GET", "OPTIONS", "POST"]
    with Endpoint() as server:
        for method in methods:
            assert send(transfer, server.url, method=method).status == 200

        assert [request.method for request in server.received] == methods
        assert [request.body for request in server.received] == [b"{}", b"", b"", b"{}"]


def test_connections_are_used_again_and_a_dead_one_is_dialled_anew(transfer: Transfer) -> None:
    with Endpoint(endpoint.ok(), endpoint.ok(), endpoint.CLOSE, endpoint.ok()) as server:
        sent = [send(transfer, server.url) for _ in range(3)]

        assert [answer.status for answer in sent] == [200, 200, 200]
        assert [answer.is_reused for answer in sent[:2]] == [False, True]
        assert server.connections == 2
    assert sent[0].timings.tcp > 0
    assert sent[1].timings[:2] == (0, 0)
    assert sum(sent[0].timings) == sent[0].duration_us


def test_nothing_of_one_request_is_seen_in_the_next(transfer: Transfer) -> None:
    full = endpoint.status(503, b"busy", [("retry-after", "7"), ("retry-after", "9")])
    with Endpoint(full, endpoint.status(500)) as server:
        first, second = send(transfer, server.url), send(transfer, server.url)

    assert (first.retry_after, first.body) == (("7", "9"), b"busy")
    assert (second.status, second.retry_after, second.body) == (500, (), b"")


@pytest.mark.parametrize("code", [200, 201, 204, 299, 301, 304, 400, 410, 429, 500, 503, 599])
def test_a_complete_answer_is_judged_by_its_status(code: int) -> None:
    answer = answer_to(endpoint.status(code, headers=[("location", "http://10.0.0.1/")]))

    assert (answer.status, answer.outcome, answer.note) == (code, None, None)


@pytest.mark.parametrize(
    ("behaviour", "outcome"),
    [
        (endpoint.CLOSE, "tcp_reset"),
        (endpoint.reset(), "tcp_reset"),
        (endpoint.reset(answers(200)), "tcp_reset"),
        (endpoint.raw(answers(200, "x-cut: 1")), None),
        (endpoint.GARBAGE, "bad_response"),
        (endpoint.HTTP_09, "bad_response"),
        (endpoint.TWO_LENGTHS, "bad_response"),
        (endpoint.HEADER_BOMB, "bad_response"),
        (endpoint.HUGE_HEADER_LINE, "bad_response"),
        (endpoint.INFORMATIONAL_FLOOD, "bad_response"),
        (endpoint.raw(answers(99, "\r\n")), "bad_response"),
        (endpoint.raw(answers(600, "\r\n")), "bad_response"),
        (endpoint.raw(answers(999, "content-length: 0\r\n\r\n")), "bad_response"),
        (endpoint.raw(answers(101, "\r\n")), "tcp_reset"),
        (endpoint.raw(answers(200, "x: a\0b\r\n\r\n")), "bad_response"),
        (endpoint.raw(answers(200, "content-length: -1\r\n\r\n")), "bad_response"),
    ],
)
def test_an_answer_that_breaks_http_is_named(behaviour: Behaviour, outcome: str | None) -> None:
    answer = answer_to(behaviour)

    assert answer.outcome == outcome
    assert len(answer.body) <= curl.BODY_CAP_BYTES


@pytest.mark.parametrize(
    ("behaviour", "outcome"),
    [
        (endpoint.hang(), "timeout_headers"),
        (endpoint.hang(answers(200)), "timeout_headers"),
        (endpoint.hang(answers(103, "\r\n")), "timeout_headers"),
        (endpoint.SLOW_HEADER, "timeout_headers"),
        (endpoint.hang(answers(500, "content-length: 9\r\n\r\nab")), "timeout_body"),
    ],
)
def test_whoever_is_too_slow_is_named_by_the_step(behaviour: Behaviour, outcome: str) -> None:
    assert answer_to(behaviour, timeout_ms=SHORT_MS).outcome == outcome


@pytest.mark.parametrize(
    ("behaviour", "note"),
    [
        (endpoint.SLOW_BODY, "timeout_body"),
        (endpoint.hang(answers(200, "content-length: 9\r\n\r\nab")), "timeout_body"),
        (endpoint.ENDLESS_BODY, "capped"),
        (endpoint.GZIP_BOMB, "capped"),
        (endpoint.raw(answers(200, "content-length: 9\r\n\r\nab")), "cut"),
        (endpoint.raw(answers(200, "transfer-encoding: chunked\r\n\r\n5\r\nab")), "cut"),
        (endpoint.raw(answers(200, "transfer-encoding: chunked\r\n\r\nzz\r\nab")), "cut"),
        (endpoint.reset(answers(200, "content-length: 9\r\n\r\nab")), "cut"),
    ],
)
def test_a_complete_2xx_head_is_a_delivery_whatever_the_body_does(
    behaviour: Behaviour, note: str
) -> None:
    answer = answer_to(behaviour, timeout_ms=SHORT_MS if note == "timeout_body" else TIMEOUT_MS)

    assert (answer.status, answer.outcome, answer.note) == (200, None, note)
    assert len(answer.body) <= curl.BODY_CAP_BYTES


def test_a_failure_with_a_cut_body_keeps_its_status() -> None:
    answer = answer_to(endpoint.raw(answers(503, "retry-after: 5\r\ncontent-length: 9\r\n\r\nab")))

    assert (answer.status, answer.outcome, answer.note) == (503, None, "cut")
    assert answer.retry_after == ("5",)


def test_a_flood_of_trailers_does_not_undo_a_delivery() -> None:
    head = answers(200, "transfer-encoding: chunked\r\n\r\n") + b"2\r\nok\r\n0\r\n"

    answer = answer_to(endpoint.flood(head, b"x-bomb: " + b"y" * 1000 + b"\r\n"))

    assert (answer.status, answer.outcome, answer.note) == (200, None, "capped")


def test_headers_of_interim_answers_are_not_those_of_the_final_one() -> None:
    interim = answers(103, "retry-after: 1\r\n\r\n")

    answer = answer_to(endpoint.raw(interim + answers(503, "content-length: 0\r\n\r\n"), keep=True))

    assert (answer.status, answer.retry_after) == (503, ())


def test_a_smuggled_second_answer_reaches_nobody(transfer: Transfer) -> None:
    with Endpoint(endpoint.SMUGGLED, endpoint.ok()) as server:
        sent = [send(transfer, server.url) for _ in range(3)]

        assert [answer.status for answer in sent] == [200, 200, 200]
        assert server.connections == 2


def test_compressed_bytes_stay_compressed() -> None:
    packed = b"\x1f\x8b" + bytes(range(256))

    answer = answer_to(endpoint.status(200, packed, [("content-encoding", "gzip")]))

    assert answer.body == packed
    assert answer.excerpt == ""


def test_the_excerpt_is_short_text() -> None:
    assert len(answer_to(endpoint.ok(b"\xffx" * 5_000)).excerpt) <= curl.EXCERPT_BYTES


def test_a_body_of_exactly_the_cap_is_whole() -> None:
    whole = answer_to(endpoint.ok(b"x" * curl.BODY_CAP_BYTES))
    longer = answer_to(endpoint.ok(b"x" * (curl.BODY_CAP_BYTES + 1)))

    assert (whole.note, len(whole.body)) == (None, curl.BODY_CAP_BYTES)
    assert (longer.note, len(longer.body)) == ("capped", curl.BODY_CAP_BYTES)


def test_a_refused_connection_is_named(transfer: Transfer) -> None:
    with Endpoint() as server:
        url = server.url
    assert send(transfer, url).outcome == "tcp_refused"


def test_a_host_that_does_not_take_connections_is_named(transfer: Transfer) -> None:
    with ExitStack() as stack:
        full = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(3):  # the queue of a listener that accepts nobody
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(full.getsockname())

        answer = send(transfer, f"http://localhost:{full.getsockname()[1]}/", timeout_ms=SHORT_MS)

    assert answer.outcome == "tcp_timeout"


@pytest.fixture(scope="module")
def trusted(tmp_path_factory: pytest.TempPathFactory) -> certificates.Authority:
    return certificates.authority(tmp_path_factory.mktemp("ca"))


@pytest.mark.parametrize(
    ("context", "outcome"),
    [
        (certificates.good, None),
        (certificates.expired, "tls_expired"),
        (certificates.wrong_host, "tls_wrong_host"),
        (certificates.self_signed, "tls_self_signed"),
        (certificates.unknown_ca, "tls_unknown_ca"),
        (certificates.incomplete_chain, "tls_incomplete_chain"),
        (certificates.old_version, "tls_version"),
        (certificates.wants_client_certificate, "tls_client_cert_refused"),
    ],
)
def test_each_fault_of_tls_has_its_name(
    trusted: certificates.Authority,
    context: Callable[[certificates.Authority], SSLContext],
    outcome: str | None,
) -> None:
    profile = Profile(OPEN_RULES, ca_file=trusted.ca_file)
    with Endpoint(tls=context(trusted)) as server, closing(Transfer(profile, Pins())) as transfer:
        answer = send(transfer, server.url)

        assert len(server.received) == (0 if outcome else 1)
    assert answer.outcome == outcome


def test_certificates_are_trusted_only_from_our_list(trusted: certificates.Authority) -> None:
    with (
        Endpoint(tls=certificates.good(trusted)) as server,
        closing(Transfer(Profile(OPEN_RULES), Pins())) as transfer,
    ):
        assert send(transfer, server.url).outcome == "tls_incomplete_chain"


def test_a_port_that_says_nothing_of_tls_is_named(transfer: Transfer) -> None:
    with Endpoint(endpoint.hang()) as server:
        answer = send(transfer, server.url.replace("http:", "https:"), timeout_ms=SHORT_MS)

    assert answer.outcome == "tls_handshake"


def test_plain_http_needs_its_switch() -> None:
    with Endpoint() as server, closing(Transfer(Profile(OPEN_RULES), Pins())) as transfer:
        answer = send(transfer, server.url)

        assert server.connections == 0
    assert answer.outcome is not None


def test_no_proxy_of_the_environment_is_used(
    transfer: Transfer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Endpoint() as proxy, Endpoint() as server:
        for name in ("http_proxy", "https_proxy", "all_proxy", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.setenv("no_proxy", "")
        send(transfer, server.url)

        assert (proxy.connections, server.connections) == (0, 1)


def test_no_netrc_and_no_cookie_is_sent(
    transfer: Transfer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".netrc").write_text("machine localhost login me password secret\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    cookie = endpoint.status(200, headers=[("set-cookie", "a=b; path=/")])
    with Endpoint(cookie) as server:
        send(transfer, server.url)
        send(transfer, server.url)

        for request in server.received:
            assert not {"cookie", "authorization"} & set(request.headers)


def test_a_request_without_a_checked_address_is_not_started(transfer: Transfer) -> None:
    with pytest.raises(ValueError, match="not started"):
        send(transfer, "http://localhost:8099/", addresses=())


def test_libcurl_never_resolves_a_name(transfer: Transfer) -> None:
    with Endpoint() as server:
        send(transfer, server.url)
        transfer._forget()
        transfer.easy.setopt(pycurl.URL, f"http://unpinned.example:{server.port}/")

        assert perform(transfer).outcome == "local_resources"


def test_a_moved_name_is_dialled_at_its_new_address(transfer: Transfer) -> None:
    with Endpoint() as server:
        first = send(transfer, server.url, addresses=("127.0.0.2",))
        second = send(transfer, server.url)

        assert (first.outcome, second.status) == ("tcp_refused", 200)


def test_the_next_address_is_tried_when_one_is_dead(transfer: Transfer) -> None:
    with Endpoint() as server:
        answer = send(transfer, server.url, addresses=("127.0.0.2", "127.0.0.1"))

    assert answer.status == 200


def test_a_literal_address_needs_no_pin(transfer: Transfer) -> None:
    with Endpoint() as server:
        answer = send(transfer, f"http://127.0.0.1:{server.port}/x")

    assert answer.status == 200


def test_the_transfers_of_a_multi_handle_share_their_pins() -> None:
    pins = Pins()
    with (
        Endpoint() as server,
        closing(Transfer(PROFILE, pins)) as one,
        closing(Transfer(PROFILE, pins)) as other,
        closing(pycurl.CurlMulti()) as multi,
    ):
        for transfer in (one, other):
            transfer.prepare(
                target_of(server.url),
                LOOPBACK,
                HEADERS,
                b"",
                timeout_ms=TIMEOUT_MS,
                connect_timeout_ms=TIMEOUT_MS,
            )
            run(multi, transfer)
            assert transfer.answer().status == 200

        assert pins == {("localhost", server.port): LOOPBACK}
        assert server.connections == 1


def run(multi: pycurl.CurlMulti, transfer: Transfer) -> None:
    multi.add_handle(transfer.easy)
    while multi.perform()[1]:
        multi.select(1.0)
    assert multi.info_read()[2] == []
    multi.remove_handle(transfer.easy)
