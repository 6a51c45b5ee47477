"""What is the matter with a connection, in a sentence with its cure (pure)."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Case:
    """What the sentences fill in.

    host, port  of the URL
    status      final HTTP status, or 0
    waited_s    how long the answer was waited for, in seconds
    """

    host: str
    port: int
    status: int = 0
    waited_s: int = 15


SENTENCES: Mapping[str, str] = {
    "address_denied": "{host} points to an address we do not call (private, local or reserved).",
    "auth_failed": "No access token could be had for it: check the token address, id and secret.",
    "bad_response": "What answered is not valid HTTP. Is this port really a web server?",
    "decoder_unavailable": "The record cannot be decoded right now; it is kept and tried again.",
    "dns_failed": "The name servers of {host} failed. Ask whoever runs them, or wait.",
    "dns_not_found": "{host} has no address. Check the name, or wait if it is new.",
    "dns_timeout": "The name servers of {host} did not answer in 3 s.",
    "gone": "You asked us to stop (410), so we did.",
    "http_4xx": "It answered {status}: it refuses the request.",
    "http_5xx": "It answered {status}: something failed on its side.",
    "item_rejected": "It took the batch, and named this record as one that it did not take.",
    "local_resources": "Our side was out of sockets or memory; it is tried again by itself.",
    "proxy_failed": "Our way out failed; it is tried again by itself.",
    "rate_limited": "It answered 429: it asks for fewer requests.",
    "redirect": "It answered {status}. We never follow redirects; enter the address it names.",
    "secret_unreadable": "A secret of this endpoint does not open on our side. Rotate it.",
    "tcp_refused": "Port {port} is closed: nothing listens there, or a firewall rejects us.",
    "tcp_reset": "The connection was cut while we sent the request.",
    "tcp_timeout": "No answer in 5 s: a firewall probably drops us.",
    "timeout_body": "Headers came, the body did not end in {waited_s} s.",
    "timeout_headers": "Connected, then no answer for {waited_s} s. Answer 2xx first, work later.",
    "tls_client_cert_refused": "Your server refused our client certificate, or wants one.",
    "tls_expired": "The certificate has ended, or has not begun yet. Renew it.",
    "tls_handshake": "TLS could not be agreed on. Is port {port} really HTTPS?",
    "tls_incomplete_chain": "Your server sends its own certificate but not the intermediate one."
    " Browsers fetch it, servers do not. Serve the full chain (nginx: fullchain.pem).",
    "tls_self_signed": "The certificate is signed by itself. Use one of a public CA, or give us"
    " your authority with the endpoint.",
    "tls_unknown_ca": "The certificate is signed by an authority we do not know. Use a public CA,"
    " or give us yours with the endpoint.",
    "tls_version": "Your server offers only TLS versions that are too old; we need 1.2 or newer.",
    "tls_wrong_host": "The certificate is for another host than {host}.",
}
"""A sentence for every outcome but ``delivered``; one that is missing fails a test."""


def sentence(outcome: str, case: Case) -> str:
    """Return what is the matter and what to do; "" for what went well."""
    text = SENTENCES.get(outcome, "")
    return text.format(host=case.host, port=case.port, status=case.status, waited_s=case.waited_s)
