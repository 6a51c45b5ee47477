"""The doctor: finds each fault, names its cure, hides no other and shows no secret."""

import base64
import os
import socket
from collections.abc import Iterator

import pytest
from django.core.management import CommandError, call_command

from kafkahub import config, crypto, sealed
from kafkahub.config import Config
from kafkahub.crypto import KeyRing
from kafkahub.doctor import egress, inside, neighbours
from kafkahub.doctor.finding import Finding, place, reason
from kafkahub.fields import Sealed, encryption_ring
from kafkahub.kafka import broker
from kafkahub.kafka.faults import KafkaUnavailable
from subscriptions.models import Endpoint, Partner, Topic

OTHER = KeyRing("k9", {"k9": b"9" * 31 + b"z"})


@pytest.fixture
def closed_port() -> Iterator[int]:
    """Return a port that nobody listens on, kept from others while the test runs."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def settings(**changed: object) -> Config:
    values = config.load().model_dump() | changed
    return Config.model_validate(values)


def levels(found: list[Finding]) -> list[str]:
    return [finding.level for finding in found]


def endpoint(ring: KeyRing) -> sealed.Column:
    """Make an endpoint whose headers are sealed with ``ring``; return their column."""
    column = next(one for one in sealed.columns() if one.name == "subscriptions_endpoint.headers")
    row = Endpoint.objects.create(
        partner=Partner.objects.create(name="Acme"), name="in", url="https://a.example/"
    )
    value = crypto.seal(ring, b"{}", column.field.place(row))
    Endpoint.objects.filter(pk=row.pk).update(headers=Sealed(value))
    return column


@pytest.mark.django_db
def test_a_sound_installation_needs_no_cure() -> None:
    assert set(levels(list(neighbours.database(settings())))) == {"ok"}
    assert levels(list(neighbours.cache(settings()))) == ["ok"]
    assert set(levels(list(inside.keys(settings())))) == {"ok"}


@pytest.mark.kafka
@pytest.mark.django_db
def test_a_sound_broker_needs_no_cure() -> None:
    assert set(levels(list(neighbours.kafka(settings())))) == {"ok"}


@pytest.mark.kafka
@pytest.mark.django_db
def test_an_exposed_topic_that_kafka_does_not_show_is_named() -> None:
    Topic.objects.create(name="never.made")

    found = [one for one in neighbours.kafka(settings()) if one.level == "fail"]

    assert ["never.made" in one.text for one in found] == [True]


def test_a_broker_that_is_away_is_named_with_its_cure(closed_port: int) -> None:
    found = list(neighbours.kafka(settings(kafka_bootstrap=f"127.0.0.1:{closed_port}")))

    assert levels(found) == ["fail"]
    assert str(closed_port) in found[0].text
    assert "KAFKAHUB_KAFKA_BOOTSTRAP" in found[0].cure


def test_what_is_no_broker_is_told_from_one() -> None:
    redis_port = config.load().redis_url.get_secret_value().rpartition(":")[2].partition("/")[0]

    with pytest.raises(KafkaUnavailable, match=r"Kafka|hung up|timed out"):
        broker.release(settings(kafka_bootstrap=f"127.0.0.1:{redis_port}"))


def test_a_database_that_is_away_is_named_without_its_password(closed_port: int) -> None:
    url = f"postgresql://hub:hunter22@127.0.0.1:{closed_port}/hub"

    found = list(neighbours.database(settings(database_url=url)))

    assert levels(found) == ["fail"]
    assert "hunter22" not in str(found)
    assert "KAFKAHUB_DATABASE_URL" in found[0].cure


def test_redis_away_is_a_warning_because_deliveries_go_on(closed_port: int) -> None:
    url = f"redis://:hunter22@127.0.0.1:{closed_port}/0"

    found = list(neighbours.cache(settings(redis_url=url)))

    assert levels(found) == ["warn"]
    assert "hunter22" not in str(found)


@pytest.mark.parametrize(
    ("offset_s", "level"), [(0.2, "ok"), (-3.0, "warn"), (61.0, "fail"), (-3_600.0, "fail")]
)
def test_clocks_may_differ_a_little(offset_s: float, level: str) -> None:
    assert neighbours.clock_of(offset_s).level == level


@pytest.mark.django_db
def test_a_value_whose_key_left_the_ring_is_a_fault() -> None:
    found = list(inside.sealed_column(endpoint(OTHER), encryption_ring()))

    assert levels(found) == ["fail"]
    assert "k9" in found[0].text
    assert "KAFKAHUB_ENCRYPTION_KEYS" in found[0].cure


@pytest.mark.django_db
def test_a_value_under_an_old_key_is_a_reminder_to_rotate() -> None:
    ring = KeyRing("k1", {**encryption_ring().keys, **OTHER.keys})

    found = list(inside.sealed_column(endpoint(OTHER), ring))

    assert levels(found) == ["warn", "ok"]
    assert "rotate_encryption_keys" in found[0].cure


@pytest.mark.django_db
def test_another_key_under_the_same_kid_is_found() -> None:
    wrong = KeyRing("k9", {"k9": b"8" * 31 + b"w"})

    found = list(inside.sealed_column(endpoint(OTHER), wrong))

    assert levels(found) == ["fail"]
    assert "does not open" in found[0].text


def test_the_way_out_and_its_guard_work() -> None:
    assert levels(list(egress.egress(settings())))[-1] == "ok"


@pytest.mark.parametrize(
    ("fault", "is_public", "level"),
    [
        (None, True, "ok"),
        ("dns_not_found", True, "ok"),
        ("dns_timeout", True, "fail"),
        ("dns_failed", True, "fail"),
        ("dns_timeout", False, "warn"),
    ],
)
def test_name_servers_that_are_silent_are_a_fault_in_production(
    fault: str | None, is_public: bool, level: str
) -> None:
    assert egress.dns_of("example.com", fault, is_public=is_public).level == level


def test_the_settings_are_looked_at_as_in_production_only_there() -> None:
    assert levels(list(inside.settings(settings()))) == ["ok"]


def test_a_ring_that_does_not_parse_is_left_to_the_look_at_the_settings() -> None:
    assert list(inside.keys(settings(encryption_keys="junk"))) == []


@pytest.mark.kafka
@pytest.mark.django_db
def test_the_command_prints_every_look(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("doctor")

    printed = capsys.readouterr().out
    for part in ("settings", "database", "clock", "redis", "kafka", "keys", "egress"):
        assert part in printed


@pytest.mark.kafka
@pytest.mark.django_db
def test_the_command_fails_when_something_needs_a_cure(
    capsys: pytest.CaptureFixture[str],
) -> None:
    endpoint(OTHER)

    with pytest.raises(CommandError, match="1 of"):
        call_command("doctor")

    assert "→ Put the key k9 back" in capsys.readouterr().out


def test_of_a_url_only_the_place_is_shown() -> None:
    assert place("postgresql://hub:pw@db:5432/hub?sslmode=disable") == "db:5432/hub"
    assert place("postgresql:///hub?host=/run/pg") == "a local socket/hub"


def test_of_an_error_one_line_is_shown() -> None:
    assert reason(OSError("first\nsecond")) == "first"
    assert reason(OSError()) == "OSError"


def test_no_finding_repeats_a_key() -> None:
    secret = base64.b64encode(os.urandom(32)).decode()
    conf = settings(encryption_keys=f"k1:{secret}")

    assert secret not in str([list(inside.settings(conf)), list(egress.egress(conf))])
