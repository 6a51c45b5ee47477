"""The pinned values of every client, and how settings become options."""

from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import SecretStr

from kafkahub import config
from kafkahub.kafka import options

Build = Callable[[config.Config], options.Options]
BUILDERS: list[Build] = [
    options.consumer_options,
    options.reader_options,
    options.producer_options,
    options.admin_options,
]


def settings(**changes: object) -> config.Config:
    return config.load().model_copy(update=changes)


@pytest.mark.parametrize("build", [options.consumer_options, options.reader_options])
def test_positions_are_never_chosen_by_the_client(build: Build) -> None:
    chosen = build(settings())

    assert chosen["enable.auto.commit"] is False
    assert chosen["enable.auto.offset.store"] is False
    assert chosen["auto.offset.reset"] == "error"
    assert chosen["isolation.level"] == "read_committed"


def test_an_engine_leaves_its_group_within_seconds_of_its_death() -> None:
    chosen = options.consumer_options(settings())

    assert chosen["group.protocol"] == "classic"
    assert chosen["session.timeout.ms"] == 6_000
    assert chosen["partition.assignment.strategy"] == "cooperative-sticky"
    assert "group.id" not in chosen


def test_a_produce_is_durable_or_answered_within_the_deadline() -> None:
    chosen = options.producer_options(settings())

    assert chosen["enable.idempotence"] is True
    assert chosen["acks"] == "all"
    assert chosen["message.timeout.ms"] == 15_000


@pytest.mark.parametrize("build", BUILDERS)
def test_plain_settings_give_no_security_option(build: Build) -> None:
    chosen = build(settings(kafka_bootstrap="a:1,b:2"))

    assert chosen["bootstrap.servers"] == "a:1,b:2"
    assert chosen["security.protocol"] == "PLAINTEXT"
    assert not [name for name in chosen if name.startswith(("sasl.", "ssl."))]


def test_sasl_and_tls_settings_reach_the_client() -> None:
    chosen = options.admin_options(
        settings(
            kafka_security_protocol="SASL_SSL",
            kafka_sasl_mechanism="SCRAM-SHA-512",
            kafka_sasl_username="hub",
            kafka_sasl_password=SecretStr("s3cret"),
            kafka_ssl_ca=Path("/etc/ca.pem"),
            kafka_ssl_key_password=SecretStr("k3y"),
        )
    )

    assert chosen["sasl.mechanism"] == "SCRAM-SHA-512"
    assert (chosen["sasl.username"], chosen["sasl.password"]) == ("hub", "s3cret")
    assert chosen["ssl.ca.location"] == "/etc/ca.pem"
    assert chosen["ssl.key.password"] == "k3y"
    assert "ssl.key.location" not in chosen
