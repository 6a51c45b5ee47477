"""The way out to partners' endpoints, as the doctor sees it."""

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import urlsplit

from kafkahub.config import Config
from kafkahub.doctor.finding import Finding, Level
from kafkahub.egress import urls
from kafkahub.egress.addresses import AddressRules
from kafkahub.egress.curl import Answer, Profile
from kafkahub.egress.fetch import Request, fetch
from kafkahub.egress.resolver import Resolver

FALLBACK_NAME = "example.com"
"""Asked for where our own address is no name: reserved for such use, and in every DNS."""

DNS_DEADLINE_S = 5.0
RECEIVED = 204
"""Status of our own receiver: nothing else on the machine is likely to answer so."""


def egress(config: Config) -> Iterator[Finding]:
    """Look at DNS, and send a request to a receiver of our own, with and without the guard."""
    yield dns(config)
    with receiver() as (port, received):
        sent = _send(port, AddressRules(allow_loopback=True))
        refused = _send(port, AddressRules())
        count = len(received)
    if sent.status != RECEIVED:
        cure = "Look for a proxy, a packet filter or a broken libcurl on this machine."
        yield Finding("fail", "egress", f"A request to this machine failed: {sent.outcome}", cure)
    elif refused.outcome != "address_denied" or count != 1:
        cure = "Do not run this build: endpoints could reach inner services. Report it to us."
        yield Finding("fail", "egress", "The guard let a request to this machine through", cure)
    else:
        yield Finding("ok", "egress", "A request goes out, and the guard stops a denied address")


def dns(config: Config) -> Finding:
    """Look whether the name servers answer; that a name does not exist is an answer too."""
    host = urlsplit(config.base_url).hostname or ""
    name = host if host.rpartition(".")[2].isalpha() and "." in host else FALLBACK_NAME
    resolver = Resolver(AddressRules(), config.egress_dns_servers)
    try:
        found = resolver.resolve(name, DNS_DEADLINE_S)
    finally:
        resolver.close()
    return dns_of(name, found.fault, is_public=config.environment == "production")


def dns_of(name: str, fault: str | None, *, is_public: bool) -> Finding:
    """Return what the answer of the name servers means."""
    if fault not in {"dns_timeout", "dns_failed"}:
        return Finding("ok", "egress", f"DNS answers for {name}")
    # Without Internet a development machine is still of use.
    level: Level = "fail" if is_public else "warn"
    cure = "Mend /etc/resolv.conf, or name servers in KAFKAHUB_EGRESS_DNS_SERVERS."
    return Finding(level, "egress", f"DNS does not answer for {name}: {fault}", cure)


@contextlib.contextmanager
def receiver() -> Iterator[tuple[int, list[str]]]:
    """Give the port of a receiver on this machine and the list of what it received."""
    received: list[str] = []
    handler = type("Handler", (_Handler,), {"received": received})
    server = HTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=[0.05], daemon=True)
    thread.start()
    try:
        yield int(server.server_address[1]), received
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    received: list[str]

    def do_GET(self) -> None:
        self.received.append(self.path)
        self.send_response(RECEIVED)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing: the finding says it."""


def _send(port: int, guard: AddressRules) -> Answer:
    # URL and name are let through, so that only the guard on the socket is left to refuse.
    near = AddressRules(allow_loopback=True)
    target = urls.parse(f"http://127.0.0.1:{port}/", allow_http=True, rules=near)
    resolver = Resolver(near)
    try:
        return fetch(Request(target), Profile(guard, allow_http=True), resolver)
    finally:
        resolver.close()
