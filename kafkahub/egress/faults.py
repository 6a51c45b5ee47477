"""What libcurl's errors mean to us: error, text and phase to the name of an outcome."""

import errno
from dataclasses import dataclass

import pycurl

_LOCAL_ERRNOS = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL, errno.EAGAIN}
)
"""Reasons for a failed connect that are this machine's own."""

PROXY_FAILED = 97
"""CURLE_PROXY, which pycurl does not name."""

_BY_CODE = {
    PROXY_FAILED: "proxy_failed",
    pycurl.E_COULDNT_RESOLVE_HOST: "dns_failed",
    pycurl.E_COULDNT_RESOLVE_PROXY: "proxy_failed",
    pycurl.E_GOT_NOTHING: "tcp_reset",
    pycurl.E_SEND_ERROR: "tcp_reset",
    pycurl.E_RECV_ERROR: "tcp_reset",
    pycurl.E_OUT_OF_MEMORY: "local_resources",
    pycurl.E_FAILED_INIT: "local_resources",
    pycurl.E_URL_MALFORMAT: "local_resources",
    pycurl.E_SSL_CACERT_BADFILE: "local_resources",
    pycurl.E_SSL_CERTPROBLEM: "local_resources",
    pycurl.E_SSL_ENGINE_NOTFOUND: "local_resources",
    pycurl.E_ABORTED_BY_CALLBACK: "local_resources",
}
"""What is not here comes from an answer that breaks HTTP: ``bad_response``."""

_BY_VERIFY_RESULT = {
    2: "tls_incomplete_chain",  # the issuer of an intermediate is missing
    10: "tls_expired",
    9: "tls_expired",  # not valid yet
    18: "tls_self_signed",
    19: "tls_unknown_ca",  # the chain was sent up to its root, and the root is not ours
    20: "tls_incomplete_chain",  # nothing links what was sent to a root of ours
    21: "tls_incomplete_chain",
    62: "tls_wrong_host",
    64: "tls_wrong_host",
}
"""X509_V_ERR_… of OpenSSL. A private authority whose root was not sent is 20, too."""

_TUNNEL_STANDS = 200
_BY_CONNECT_STATUS = {502: "tcp_refused", 504: "tcp_timeout"}
"""What proxies answer where the endpoint cannot be reached; everything else is of their own."""
_BY_SOCKS_REPLY = {
    19: "tcp_refused",  # CURLPX_REPLY_CONNECTION_REFUSED
    21: "tcp_timeout",  # CURLPX_REPLY_HOST_UNREACHABLE
    22: "tcp_timeout",  # CURLPX_REPLY_NETWORK_UNREACHABLE
    24: "tcp_timeout",  # CURLPX_REPLY_TTL_EXPIRED
}

_CLIENT_CERT_TEXTS = (
    "certificate required",
    "alert bad certificate",
    "alert unknown ca",
    "alert certificate unknown",
    "alert certificate expired",
    "alert certificate revoked",
    "alert unsupported certificate",
)
_VERSION_TEXTS = ("unsupported protocol", "protocol version", "version too low", "inappropriate")
_WRONG_HOST_TEXTS = ("subject name", "does not match", "no alternative certificate")


@dataclass(frozen=True, slots=True)
class Failure:
    """A request that libcurl gave up before the final head was complete.

    code           libcurl's error
    text           libcurl's words for it
    os_errno       of the last failed system call, or 0
    verify_result  OpenSSL's verdict on the certificate, 0 for none
    is_connected   TCP stood
    is_secured     the request could be sent: TLS stood, too, where it was asked for
    """

    code: int
    text: str
    os_errno: int
    verify_result: int
    is_connected: bool
    is_secured: bool


def outcome_of(failure: Failure) -> str:
    """Return the outcome's name for a failure that no guard of ours caused."""
    code = failure.code
    if code == pycurl.E_OPERATION_TIMEDOUT:
        return _timeout(failure)
    if code == pycurl.E_COULDNT_CONNECT:
        return _connect(failure.os_errno)
    text = failure.text.lower()
    if code == pycurl.E_PEER_FAILED_VERIFICATION:
        return _verification(failure.verify_result, text)
    if code == pycurl.E_SSL_CONNECT_ERROR:
        return _handshake(failure.verify_result, text)
    if code == pycurl.E_RECV_ERROR and _has(text, _CLIENT_CERT_TEXTS):
        return "tls_client_cert_refused"  # TLS 1.3 tells it after our side of the handshake
    return _BY_CODE.get(code, "bad_response")


def proxy_outcome_of(failure: Failure, *, answered: int, refused: int) -> str | None:
    """Return the outcome of a failure before a tunnel stood; None for one in the tunnel.

    answered  the proxy's status for CONNECT, 0 where it gave none
    refused   why a SOCKS proxy would not connect, 0 for no reason

    What the proxy says of the endpoint is the endpoint's; all else is ours to mend.
    """
    if answered in _BY_CONNECT_STATUS:
        return _BY_CONNECT_STATUS[answered]
    if refused in _BY_SOCKS_REPLY:
        return _BY_SOCKS_REPLY[refused]
    is_refused = refused != 0 or answered not in {0, _TUNNEL_STANDS}
    if is_refused or failure.code in {PROXY_FAILED, pycurl.E_COULDNT_RESOLVE_PROXY}:
        return "proxy_failed"
    if failure.code == pycurl.E_COULDNT_CONNECT:
        return "proxy_failed"
    is_unreached = failure.code == pycurl.E_OPERATION_TIMEDOUT and not failure.is_connected
    return "proxy_failed" if is_unreached else None


def _timeout(failure: Failure) -> str:
    if not failure.is_connected:
        return "tcp_timeout"
    return "timeout_headers" if failure.is_secured else "tls_handshake"


def _connect(os_errno: int) -> str:
    if os_errno in _LOCAL_ERRNOS:
        return "local_resources"
    if os_errno == errno.ETIMEDOUT:
        return "tcp_timeout"
    return "tcp_reset" if os_errno == errno.ECONNRESET else "tcp_refused"


def _verification(verify_result: int, text: str) -> str:
    if _has(text, _WRONG_HOST_TEXTS):
        return "tls_wrong_host"
    return _BY_VERIFY_RESULT.get(verify_result, "tls_handshake")


def _handshake(verify_result: int, text: str) -> str:
    if _has(text, _VERSION_TEXTS):
        return "tls_version"
    if _has(text, _CLIENT_CERT_TEXTS):
        return "tls_client_cert_refused"
    return _BY_VERIFY_RESULT.get(verify_result, "tls_handshake")


def _has(text: str, parts: tuple[str, ...]) -> bool:
    return any(part in text for part in parts)
