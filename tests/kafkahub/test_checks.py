"""System checks: each fault has its id and cure, and no text shows a value."""

import base64
import os
from collections.abc import Iterable

import pytest
from django.conf import settings
from django.core.checks import CheckMessage
from django.urls import URLResolver, get_resolver, include, path
from django.urls.resolvers import RegexPattern
from pydantic import SecretStr

from kafkahub import checks, config
from kafkahub.config import Config


def key() -> str:
    return base64.b64encode(os.urandom(32)).decode()


def production(**changed: object) -> Config:
    """Return settings that nothing is wrong with, but what ``changed`` says."""
    good: dict[str, object] = {
        "environment": "production",
        "base_url": "https://hub.example.com",
        "secret_key": base64.b64encode(os.urandom(48)).decode(),
        "encryption_keys": f"k1:{key()}",
        "key_peppers": f"p1:{key()}",
        "audit_keys": f"a1:{key()}",
        "id_key": key(),
        "database_url": "postgresql://hub@127.0.0.1/hub",
        "redis_url": "redis://127.0.0.1:6379/0",
        "kafka_bootstrap": "127.0.0.1:9092",
    }
    return Config.model_validate(good | changed)


def ids_of(found: Iterable[CheckMessage]) -> list[str]:
    return [str(message.id).removeprefix("kafkahub.") for message in found]


def all_faults(conf: Config) -> list[CheckMessage]:
    return [
        *checks.key_faults(conf),
        *checks.host_faults(conf, is_debug=False),
        *checks.switch_faults(conf),
        *checks.neighbour_faults(conf),
    ]


def test_good_settings_have_no_fault() -> None:
    assert all_faults(production()) == []


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"encryption_keys": ""}, "E001"),
        ({"key_peppers": "p1:c2hvcnQ="}, "E001"),
        ({"id_key": base64.b64encode(bytes(32)).decode()}, "E001"),
        ({"audit_keys": f"a1:{base64.b64encode(bytes(range(32))).decode()}"}, "E002"),
        ({"secret_key": "x" * 60}, "E004"),
        ({"secret_key": "short-but-varied"}, "E004"),
        ({"secret_key": "django-insecure-0123456789abcdefghijklmnopqrstuvwxyz0"}, "E004"),
        ({"environment": "dev"}, "E011"),
        ({"base_url": "http://hub.example.com"}, "E012"),
        ({"allowed_hosts": "*"}, "E013"),
        ({"trusted_proxies": "0.0.0.0/0"}, "E014"),
        ({"egress_allow_loopback": True}, "E020"),
        ({"test_hooks": True}, "E021"),
        ({"ws_echo": True}, "E023"),
        ({"egress_allow": "::/0"}, "E022"),
        ({"verification_trusted_hosts": ("*",)}, "W024"),
        ({"kafka_bootstrap": "127.0.0.1:9092,kafka.internal:9092"}, "E030"),
        (
            {
                "kafka_bootstrap": "kafka.internal:9092",
                "kafka_security_protocol": "SASL_PLAINTEXT",
                "kafka_sasl_username": "hub",
                "kafka_sasl_password": "hunter22",
            },
            "W031",
        ),
        ({"database_url": "postgresql://hub:hunter22@db.internal/hub"}, "W032"),
        ({"redis_url": "redis://:hunter22@cache.internal:6379/0"}, "W033"),
    ],
)
def test_each_fault_is_found_and_has_a_cure(changed: dict[str, object], expected: str) -> None:
    found = all_faults(production(**changed))

    assert ids_of(found) == [expected]
    assert found[0].hint
    assert "hunter22" not in str(found[0])


@pytest.mark.parametrize(
    "changed",
    [
        {"kafka_bootstrap": "kafka.internal:9093", "kafka_security_protocol": "SSL"},
        {"kafka_bootstrap": "[::1]:9092,localhost:9093"},
        {"database_url": "postgresql://hub@db.internal/hub?sslmode=verify-full"},
        {"database_url": "postgresql:///hub?host=/run/postgresql"},
        {"redis_url": "rediss://cache.internal:6379/0"},
        {"egress_allow": "10.1.0.0/16", "trusted_proxies": "10.2.0.0/24"},
    ],
)
def test_a_safe_choice_is_no_fault(changed: dict[str, object]) -> None:
    assert all_faults(production(**changed)) == []


def test_one_key_in_two_rings_is_found() -> None:
    shared = key()
    conf = production(encryption_keys=f"k1:{shared}", audit_keys=f"a1:{shared}")

    found = list(checks.key_faults(conf))

    assert ids_of(found) == ["E003"]
    assert shared not in str(found[0])


def test_debug_is_refused_on_a_public_host() -> None:
    assert ids_of(checks.host_faults(production(), is_debug=True)) == ["E010"]


def test_an_example_key_is_good_enough_for_a_test() -> None:
    ring = f"a1:{base64.b64encode(bytes(range(32))).decode()}"

    assert list(checks.key_faults(production(environment="test", audit_keys=ring))) == []


def test_every_hidden_setting_is_a_secret_type() -> None:
    conf = production()
    for name in (*checks.RINGS, "secret_key", "id_key", "database_url", "redis_url"):
        assert isinstance(getattr(conf, name), SecretStr), f"{config.PREFIX}{name.upper()}"


@pytest.mark.parametrize(
    ("hashers", "faults"),
    [
        (settings.PASSWORD_HASHERS, []),
        ([checks.CLIENT_HASHER], ["E040"]),
        ([checks.CLIENT_HASHER, settings.PASSWORD_HASHERS[0]], ["E040"]),
        ([settings.PASSWORD_HASHERS[0]], []),
    ],
)
def test_the_cheap_hasher_comes_last(hashers: list[str], faults: list[str]) -> None:
    assert ids_of(checks.hasher_faults(hashers)) == faults


def test_the_oauth_package_is_not_mounted() -> None:
    package = [path("o/", include("oauth2_provider.urls", namespace="oauth2_provider"))]
    resolver = URLResolver(RegexPattern(r"^/"), package)

    assert ids_of(checks.route_faults(resolver)) == ["E041"]
    assert ids_of(checks.route_faults(get_resolver())) == []
