r"""The one parser of partners' URLs. libcurl only ever sees the text that is built here.

Parsers disagree about ``http://ok.example\@127.0.0.1/``, ``2130706433`` or full-width digits, so
nothing that could be read in two ways is taken, and the URL is put together anew from its parts.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass

import idna

from kafkahub.egress import addresses
from kafkahub.egress.addresses import AddressRules
from kafkahub.errors import Fault, Invalid

CODE = "url_not_allowed"
MAX_CHARACTERS = 2_048
MAX_NAME_CHARACTERS = 253
MIN_FREE_PORT = 1_024
MAX_PORT = 65_535
LOOPBACK_NAME = "localhost"
DEFAULT_PORTS = {"https": 443, "http": 80}
EXTRA_PORTS = frozenset({443, 8443})
DENIED_PORTS = frozenset(
    {
        2375,  # Docker
        2376,
        3306,  # MySQL
        5432,  # PostgreSQL
        5984,  # CouchDB
        6379,  # Redis
        9092,  # Kafka
        9200,  # Elasticsearch
        9300,
        11211,  # memcached
        27017,  # MongoDB
    }
)

_SCHEME = re.compile(r"(https?)://", re.IGNORECASE)
_PORT = re.compile(r"[0-9]{1,5}")
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9a-fA-F]*")
_REST = re.compile(r"(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/?]|%[0-9A-Fa-f]{2})*")
"""Path and query of RFC 3986: no control character, no space, no backslash, no lone percent."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes.

    url      the canonical text; the only form that is stored and dialled
    host     lower-case name in ASCII, or the literal address without brackets
    path     path and query, at least ``/``
    address  the same as ``host`` where that is a literal address, else None
    """

    url: str
    scheme: str
    host: str
    port: int
    path: str
    address: str | None


def parse(
    text: str,
    *,
    allow_http: bool,
    allow_loopback: bool = False,
    own_hosts: Collection[str] = (),
    rules: AddressRules | None = None,
    pointer: str = "/url",
) -> Target:
    """Return the target of a URL that a partner gave.

    allow_loopback  takes ``localhost``, and loopback addresses where ``rules`` is None
    own_hosts       host names of this installation, lower case
    rules           judge of literal addresses; by default the bare policy
    pointer         place of the URL in the body, for the faults

    Raises Invalid ``url_not_allowed`` with all faults, coded ``scheme userinfo fragment host port
    path too_long address_denied``. No text repeats the URL or shows a resolved address.
    """
    faults = _Faults(pointer)
    scheme, authority, rest = _split(text, faults)
    name, colon, port_text = _divide(authority, faults)
    port = _port(port_text if colon else None, scheme, faults, allow_http=allow_http)
    host = _host(name, faults, allow_loopback=allow_loopback)
    path = _path(rest, faults)
    if host in own_hosts:
        faults.add("address_denied", "the host is this service itself")
    address = host if addresses.parse(host) else None
    if address and (rules or AddressRules(allow_loopback=allow_loopback)).is_denied(address):
        faults.add("address_denied", "the address is not a public one")
    faults.raise_any()
    return _target(scheme, host, port, path=path, address=address)


class _Faults:
    """What is wrong with one URL, so that all of it is said at once."""

    def __init__(self, pointer: str) -> None:
        self.pointer = pointer
        self._faults: list[Fault] = []

    def add(self, code: str, text: str) -> None:
        self._faults.append(Fault(self.pointer, code, text))

    def raise_any(self) -> None:
        if self._faults:
            raise Invalid(self._faults, code=CODE)


def _target(scheme: str, host: str, port: int, *, path: str, address: str | None) -> Target:
    shown = f"[{host}]" if ":" in host else host
    place = shown if port == DEFAULT_PORTS[scheme] else f"{shown}:{port}"
    return Target(f"{scheme}://{place}{path}", scheme, host, port, path, address)


def _split(text: str, faults: _Faults) -> tuple[str, str, str]:
    """Return scheme, authority and the rest; a text that is no URL at all is refused at once."""
    if len(text) > MAX_CHARACTERS:
        faults.add("too_long", f"a URL has at most {MAX_CHARACTERS} characters")
        faults.raise_any()
    found = _SCHEME.match(text)
    if found is None:
        raise Invalid([Fault(faults.pointer, "scheme", "a URL starts with https://")], code=CODE)
    after = text[found.end() :]
    # A backslash ends the host for some parsers and not for others, so it ends it here and is
    # refused as part of the path.
    end = next((at for at, sign in enumerate(after) if sign in "/?#\\"), len(after))
    return found[1].lower(), after[:end], after[end:]


def _divide(authority: str, faults: _Faults) -> tuple[str, str, str]:
    """Return host, a colon or nothing, and port, each still as written."""
    if "@" in authority:
        faults.add("userinfo", "a URL carries no user name or password; use the field auth")
    authority = authority.rpartition("@")[2]
    if authority.startswith("["):
        inside, bracket, after = authority[1:].partition("]")
        if not bracket or (after and after[0] != ":"):
            return "[", "", ""
        return f"[{inside}]", after[:1], after[1:]
    return authority.partition(":")


def _port(text: str | None, scheme: str, faults: _Faults, *, allow_http: bool) -> int:
    if scheme == "http" and not allow_http:
        faults.add("scheme", "a URL starts with https://; http is not allowed here")
    if text is None:
        return DEFAULT_PORTS[scheme]
    port = int(text) if _PORT.fullmatch(text) else -1
    extra = {*EXTRA_PORTS, *({DEFAULT_PORTS["http"]} if allow_http else ())}
    is_free = MIN_FREE_PORT <= port <= MAX_PORT and port not in DENIED_PORTS
    if port not in extra and not is_free:
        faults.add(
            "port",
            f"allowed are 443, 8443 and {MIN_FREE_PORT} to {MAX_PORT} without those of databases",
        )
    return port


def _host(text: str, faults: _Faults, *, allow_loopback: bool) -> str:
    """Return the canonical host, or an empty text after adding the fault."""
    if text.startswith("["):
        return _literal_ipv6(text, faults)
    if _is_canonical_ipv4(text):
        return text
    name = _ascii(text)
    if name is None:
        faults.add("host", "the host is not a valid name")
    elif _NUMBER.fullmatch(name.rpartition(".")[2]):
        # 127.1, 0x7f.1, 2130706433 and full-width digits: resolvers read them as addresses.
        faults.add("host", "an IPv4 address is written as four plain decimal numbers")
    elif "." in name or (name == LOOPBACK_NAME and allow_loopback):
        return name
    else:
        faults.add("host", "the host needs a full name with a dot")
    return ""


def _literal_ipv6(text: str, faults: _Faults) -> str:
    address = addresses.parse(text[1:-1]) if ":" in text else None
    if address is None or "%" in text:
        faults.add("host", "the brackets hold no IPv6 address")
        return ""
    return str(address)


def _is_canonical_ipv4(text: str) -> bool:
    return ":" not in text and str(addresses.parse(text)) == text


def _ascii(text: str) -> str | None:
    """Return the lower-case ASCII form of a host name, or None when it has none."""
    name = text.lower().removesuffix(".") if text.isascii() else _idna(text)
    if not name or len(name) > MAX_NAME_CHARACTERS:
        return None
    for label in name.split("."):
        if not _LABEL.fullmatch(label):
            return None
        if label.startswith("xn--") and not _is_punycode(label):
            return None
    return name


def _idna(text: str) -> str | None:
    try:
        return idna.encode(text, uts46=True, std3_rules=True).decode("ascii").removesuffix(".")
    except idna.IDNAError:
        return None


def _is_punycode(label: str) -> bool:
    try:
        return idna.encode(idna.decode(label)).decode("ascii") == label
    except idna.IDNAError:
        return False


def _path(text: str, faults: _Faults) -> str:
    path, hash_sign, _ = text.partition("#")
    if hash_sign:
        faults.add("fragment", "a URL has no # part: it would never be sent")
    if not _REST.fullmatch(path):
        faults.add(
            "path",
            "path and query hold only the ASCII characters of RFC 3986; write others as %XX",
        )
    return path if path.startswith("/") else f"/{path}"
