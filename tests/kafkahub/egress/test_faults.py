"""What an error of libcurl is called, where no server of ours can provoke it."""

import errno

import pycurl
import pytest

from kafkahub.egress.faults import PROXY_FAILED, Failure, outcome_of


def failure(code: int, text: str = "", *, os_errno: int = 0, verify_result: int = 0) -> Failure:
    return Failure(code, text, os_errno, verify_result, is_connected=False, is_secured=False)


@pytest.mark.parametrize(
    ("os_errno", "outcome"),
    [
        (errno.ECONNREFUSED, "tcp_refused"),
        (errno.EHOSTUNREACH, "tcp_refused"),
        (errno.ENETUNREACH, "tcp_refused"),
        (errno.ECONNRESET, "tcp_reset"),
        (errno.ETIMEDOUT, "tcp_timeout"),
        (errno.EMFILE, "local_resources"),
        (errno.EADDRNOTAVAIL, "local_resources"),
    ],
)
def test_why_a_connect_failed_comes_from_the_system(os_errno: int, outcome: str) -> None:
    assert outcome_of(failure(pycurl.E_COULDNT_CONNECT, os_errno=os_errno)) == outcome


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        (pycurl.E_OUT_OF_MEMORY, "local_resources"),
        (pycurl.E_SSL_CACERT_BADFILE, "local_resources"),
        (PROXY_FAILED, "proxy_failed"),
        (pycurl.E_SEND_ERROR, "tcp_reset"),
        (pycurl.E_PARTIAL_FILE, "bad_response"),
        (pycurl.E_TOO_MANY_REDIRECTS, "bad_response"),
    ],
)
def test_each_code_has_its_outcome(code: int, outcome: str) -> None:
    assert outcome_of(failure(code)) == outcome


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("error:0A000102:SSL routines::unsupported protocol", "tls_version"),
        ("tlsv1 alert protocol version", "tls_version"),
        ("sslv3 alert handshake failure", "tls_handshake"),
        ("wrong version number", "tls_handshake"),
        ("tlsv13 alert certificate required", "tls_client_cert_refused"),
    ],
)
def test_a_failed_handshake_is_told_by_its_text(text: str, outcome: str) -> None:
    assert outcome_of(failure(pycurl.E_SSL_CONNECT_ERROR, text)) == outcome


def test_a_refused_client_certificate_may_come_after_the_handshake() -> None:
    text = "OpenSSL SSL_read: error:0A00045C:SSL routines::tlsv13 alert certificate required"

    assert outcome_of(failure(pycurl.E_RECV_ERROR, text)) == "tls_client_cert_refused"
    assert outcome_of(failure(pycurl.E_RECV_ERROR, "Connection reset")) == "tcp_reset"
