"""A DNS server on a UDP port of loopback that answers what a test scripted."""

import socket
import struct
import threading
from collections import Counter
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from types import TracebackType
from typing import Self

TYPE_A, TYPE_CNAME, TYPE_SOA, TYPE_AAAA = 1, 5, 6, 28
NXDOMAIN, SERVFAIL, REFUSED = 3, 2, 5
OWN_NAME = b"\xc0\x0c"
"""Pointer to the question's name, which stands behind the 12 bytes of the header."""


@dataclass(frozen=True, slots=True)
class Says:
    """One answer: to an A question it holds the IPv4 addresses, to AAAA the IPv6 ones.

    rcode     0, or NXDOMAIN, SERVFAIL, REFUSED
    silent    no answer at all
    loop      a CNAME that points at itself instead of addresses
    junk      bytes that are no DNS answer, behind the right id
    soa_ttl_s  how long the zone lets a failure be remembered
    """

    addresses: tuple[str, ...] = ()
    ttl_s: int = 0
    rcode: int = 0
    silent: bool = False
    loop: bool = False
    junk: bool = False
    soa_ttl_s: int | None = None


def says(*addresses: str, ttl_s: int = 0) -> Says:
    return Says(addresses, ttl_s)


class FakeDns:
    """Answers questions for scripted names; every other name does not exist.

    Runs   one thread, from ``with`` to its end
    Ends   leaving the ``with``: an empty datagram to itself wakes the thread
    """

    def __init__(self) -> None:
        self._script: dict[str, tuple[Says, ...]] = {}
        self.asked: Counter[tuple[str, int]] = Counter()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.server = f"127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._run)

    def script(self, name: str, *steps: Says) -> None:
        """Answer the first question for ``name`` by the first step, and so on; the last stays.

        A and AAAA count apart, so that both of one look-up get the same step.
        """
        self._script[name] = steps

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waker:
            waker.sendto(b"", ("127.0.0.1", self.port))
        self._thread.join()
        self._socket.close()

    def _run(self) -> None:
        while True:
            question, sender = self._socket.recvfrom(4096)
            if not question:
                return
            reply = self._reply(question)
            if reply is not None:
                self._socket.sendto(reply, sender)

    def _reply(self, question: bytes) -> bytes | None:
        name, kind, end = _read_question(question)
        step = self._step(name, kind)
        if step.silent:
            return None
        if step.junk:
            return question[:2] + b"\xff" * 40
        answers = _records(step, name, kind)
        authority = [] if step.soa_ttl_s is None else [_soa(step.soa_ttl_s)]
        flags = 0x8580 | step.rcode  # an answer, authoritative, recursion available
        head = struct.pack(">HHHHH", flags, 1, len(answers), len(authority), 0)
        return question[:2] + head + question[12:end] + b"".join(answers + authority)

    def _step(self, name: str, kind: int) -> Says:
        steps = self._script.get(name, (Says(rcode=NXDOMAIN),))
        number = self.asked[name, kind]
        self.asked[name, kind] += 1
        return steps[min(number, len(steps) - 1)]


def _read_question(question: bytes) -> tuple[str, int, int]:
    """Return name, type, and where the question ends."""
    labels = []
    at = 12
    while length := question[at]:
        labels.append(question[at + 1 : at + 1 + length].decode("ascii"))
        at += 1 + length
    return ".".join(labels), struct.unpack_from(">H", question, at + 1)[0], at + 5


def _records(step: Says, name: str, kind: int) -> list[bytes]:
    if step.loop:
        return [_record(TYPE_CNAME, step.ttl_s, OWN_NAME)]
    version = {TYPE_A: IPv4Address, TYPE_AAAA: IPv6Address}.get(kind)
    addresses = [ip_address(text) for text in step.addresses]
    return [
        _record(kind, step.ttl_s, address.packed)
        for address in addresses
        if version and isinstance(address, version)
    ]


def _record(kind: int, ttl_s: int, content: bytes) -> bytes:
    return OWN_NAME + struct.pack(">HHIH", kind, 1, ttl_s, len(content)) + content


def _soa(ttl_s: int) -> bytes:
    return _record(TYPE_SOA, ttl_s, b"\0\0" + struct.pack(">IIIII", 1, 1, 1, 1, ttl_s))
