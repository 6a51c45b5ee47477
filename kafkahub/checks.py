"""System checks: what would be wrong with these settings, each with an id and its cure.

``manage.py check`` refuses what cannot work anywhere; ``check --deploy`` also what must not stand
on a public host. The texts name settings and never a value.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from ipaddress import ip_address
from urllib.parse import urlsplit

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register  # noqa: A004 - Django's own name
from django.urls import URLResolver, get_resolver

from kafkahub import config, crypto
from kafkahub.config import Config

RINGS = ("encryption_keys", "key_peppers", "audit_keys")
MIN_SECRET_KEY = 50
MIN_SECRET_KEY_CHARACTERS = 10
EXAMPLE_WORDS = ("insecure", "changeme", "change-me", "example", "secret-key")
"""Words of keys that were copied from a page instead of made."""

EXAMPLE_KEYS = (bytes(range(32)), bytes(range(1, 33)))
"""Keys that count upwards, as documentation likes them; ``crypto`` refuses duller ones itself."""

MAKE_KEY = "Make one with: openssl rand -base64 32"


def install() -> None:
    """Tell Django of the checks; called once, when the apps are ready."""
    register(keys, Tags.security)
    register(public_host, Tags.security, deploy=True)
    register(switches, Tags.security, deploy=True)
    register(neighbours, Tags.security, deploy=True)
    register(tokens, Tags.security)


def keys(app_configs: Sequence[AppConfig] | None, **_: object) -> list[CheckMessage]:  # noqa: ARG001 - Django's signature
    """Refuse rings that do not parse, keys that are weak, from an example, or used twice."""
    return list(key_faults(config.load()))


def public_host(app_configs: Sequence[AppConfig] | None, **_: object) -> list[CheckMessage]:  # noqa: ARG001 - Django's signature
    """Refuse what must not stand at a public address."""
    return list(host_faults(config.load(), is_debug=settings.DEBUG))


def switches(app_configs: Sequence[AppConfig] | None, **_: object) -> list[CheckMessage]:  # noqa: ARG001 - Django's signature
    """Refuse switches that are for development and tests."""
    return list(switch_faults(config.load()))


def neighbours(app_configs: Sequence[AppConfig] | None, **_: object) -> list[CheckMessage]:  # noqa: ARG001 - Django's signature
    """Refuse connections in the clear to other hosts."""
    return list(neighbour_faults(config.load()))


def tokens(app_configs: Sequence[AppConfig] | None, **_: object) -> list[CheckMessage]:  # noqa: ARG001 - Django's signature
    """Refuse a cheap hasher for passwords, and addresses of the OAuth package."""
    return list(hasher_faults(settings.PASSWORD_HASHERS)) + list(route_faults(get_resolver()))


def key_faults(conf: Config) -> Iterator[CheckMessage]:
    """Yield what is wrong with the keys; E001 to E004."""
    seen: dict[bytes, str] = {}
    for name, read in _key_readers(conf):
        try:
            found = read()
        except crypto.KeyRingError as error:
            yield _error(1, name, f"cannot be used: {error}", MAKE_KEY)
            continue
        for key in found:
            if key in EXAMPLE_KEYS and conf.environment == "production":
                yield _error(2, name, "holds a key from an example", MAKE_KEY)
            if key in seen:
                yield _error(3, name, f"shares a key with {_variable(seen[key])}", MAKE_KEY)
            seen[key] = name
    secret = conf.secret_key.get_secret_value()
    if len(secret) < MIN_SECRET_KEY or len(set(secret)) < MIN_SECRET_KEY_CHARACTERS:
        yield _error(4, "secret_key", "is too short or too regular", _MAKE_SECRET_KEY)
    elif any(word in secret.lower() for word in EXAMPLE_WORDS):
        yield _error(4, "secret_key", "looks like one from an example", _MAKE_SECRET_KEY)


def host_faults(conf: Config, *, is_debug: bool) -> Iterator[CheckMessage]:
    """Yield what must not be so at a public address; E010 to E014."""
    if is_debug:
        yield Error("DEBUG is on.", hint="Set DEBUG to False.", id="kafkahub.E010")
    if conf.environment != "production":
        cure = "Set it to production."
        yield _error(11, "environment", "is not production", cure)
    if not conf.base_url.startswith("https://"):
        cure = "Set the https:// address that partners and operators use."
        yield _error(12, "base_url", "is plain HTTP; keys and cookies would be readable", cure)
    if any(host.strip().startswith(("*", ".")) for host in conf.allowed_hosts):
        yield _error(13, "allowed_hosts", "takes any host", "Name each host.")
    if any(network.prefixlen == 0 for network in conf.trusted_proxies):
        cure = "Name the networks of your own proxies only."
        yield _error(14, "trusted_proxies", "trusts the whole Internet", cure)


def switch_faults(conf: Config) -> Iterator[CheckMessage]:
    """Yield switches that are for development and tests; E020 to E023, W024."""
    if conf.egress_allow_loopback:
        cure = "Switch it off: a partner's endpoint could reach services of this machine."
        yield _error(20, "egress_allow_loopback", "is on", cure)
    if conf.test_hooks:
        yield _error(21, "test_hooks", "is on", "Switch it off: failpoints can end the process.")
    if conf.ws_echo:
        yield _error(23, "ws_echo", "is on", "Switch it off: it answers without credentials.")
    if "*" in conf.verification_trusted_hosts:
        cure = "Name the hosts that you vouch for: anybody could have others called by us."
        yield _warning(24, "verification_trusted_hosts", "trusts every host", cure)
    if any(network.prefixlen == 0 for network in conf.egress_allow):
        cure = "Name the few private networks that endpoints are really in."
        yield _error(22, "egress_allow", "lets endpoints be anywhere", cure)


def neighbour_faults(conf: Config) -> Iterator[CheckMessage]:
    """Yield connections that others could read; E030, W031 to W033."""
    is_near = all(_is_loopback(broker) for broker in conf.kafka_bootstrap.split(","))
    if conf.kafka_security_protocol == "PLAINTEXT" and not is_near:
        cure = "Use SASL_SSL or SSL; PLAINTEXT is for a broker on this machine."
        yield _error(30, "kafka_security_protocol", "is PLAINTEXT to another host", cure)
    if conf.kafka_security_protocol == "SASL_PLAINTEXT" and not is_near:
        yield _warning(31, "kafka_security_protocol", "sends records in the clear", "Use SASL_SSL.")
    database = urlsplit(conf.database_url.get_secret_value())
    if not _is_near(database.hostname) and "sslmode=verify-full" not in database.query:
        cure = "Add ?sslmode=verify-full and the CA of your PostgreSQL."
        yield _warning(32, "database_url", "does not verify the server", cure)
    cache = urlsplit(conf.redis_url.get_secret_value())
    if not _is_near(cache.hostname) and cache.scheme != "rediss":
        yield _warning(33, "redis_url", "is not encrypted", "Use rediss:// and an ACL user.")


def hasher_faults(hashers: Sequence[str]) -> Iterator[CheckMessage]:
    """Yield what is wrong with the order of the hashers; E040."""
    if not hashers[0].startswith("django.contrib.auth.") or CLIENT_HASHER in hashers[:-1]:
        yield Error(
            "PASSWORD_HASHERS would keep people's passwords as client secrets are kept.",
            hint="Let one of Django's come first, and the one for client secrets last.",
            id="kafkahub.E040",
        )


def route_faults(resolver: URLResolver) -> Iterator[CheckMessage]:
    """Yield that the OAuth package's own addresses are mounted; E041."""
    if "oauth2_provider" in resolver.app_dict or "oauth2_provider" in resolver.namespace_dict:
        yield Error(
            "The addresses of oauth2_provider are mounted, which let anybody register clients.",
            hint="Mount subscriptions.oauth.urls alone.",
            id="kafkahub.E041",
        )


CLIENT_HASHER = "subscriptions.authentication.client_secret.SaltedSha256"
"""The hasher of generated secrets; one round, so never for what a person has chosen."""
_MAKE_SECRET_KEY = "Make one with: openssl rand -base64 48"  # noqa: S105 - how to make one, not one


def _key_readers(conf: Config) -> Iterator[tuple[str, Callable[[], list[bytes]]]]:
    for name in RINGS:
        text = getattr(conf, name).get_secret_value()
        yield name, functools.partial(_ring_keys, text)
    yield "id_key", lambda: [crypto.parse_key(conf.id_key.get_secret_value())]


def _ring_keys(text: str) -> list[bytes]:
    return list(crypto.parse_ring(text).keys.values())


def _is_loopback(broker: str) -> bool:
    return _is_near(broker.strip().rpartition(":")[0].strip("[]"))


def _is_near(host: str | None) -> bool:
    """Return whether ``host`` is this machine; a URL without one names a socket."""
    if not host or host == "localhost" or host.startswith("/"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _variable(name: str) -> str:
    return f"{config.PREFIX}{name.upper()}"


def _error(number: int, name: str, fault: str, cure: str) -> Error:
    return Error(f"{_variable(name)} {fault}.", hint=cure, id=f"kafkahub.E{number:03}")


def _warning(number: int, name: str, fault: str, cure: str) -> Warning:
    return Warning(f"{_variable(name)} {fault}.", hint=cure, id=f"kafkahub.W{number:03}")
