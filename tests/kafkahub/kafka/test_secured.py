"""A broker that asks for TLS, certificates and passwords is spoken to by the settings alone."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from kafkahub import config
from kafkahub.kafka.admin import Admin
from kafkahub.kafka.faults import KafkaUnavailable
from kafkahub.kafka.options import admin_options, producer_options, reader_options
from kafkahub.kafka.producer import Producer
from kafkahub.kafka.reader import Reader
from kafkahub.kafka.record import Position, Record
from tests.fakes.secured_broker import (
    PASSWORD,
    USER,
    SecuredBroker,
    secured_broker,
    token_server,
)
from tests.fakes.waiting import eventually

pytestmark = pytest.mark.kafka


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredBroker]:
    env = {name: text for name, text in os.environ.items() if not name.startswith("KAFKAHUB_")}
    with secured_broker(tmp_path_factory.mktemp("secured"), env) as broker:
        Admin({"bootstrap.servers": broker.plain}).create_topic("orders", 1)
        yield broker


def settings(**named: object) -> config.Config:
    """Return the settings of this process with others for Kafka."""
    mine = {name: text for name, text in os.environ.items() if "KAFKAHUB_KAFKA" not in name}
    return config.read(
        mine | {f"KAFKAHUB_KAFKA_{name.upper()}": str(v) for name, v in named.items()}
    )


def by_password(broker: SecuredBroker, mechanism: str, **others: object) -> config.Config:
    values: Mapping[str, object] = {
        "bootstrap": broker.sasl_ssl,
        "security_protocol": "SASL_SSL",
        "ssl_ca": broker.ca_file,
        "sasl_mechanism": mechanism,
        "sasl_username": USER,
        "sasl_password": PASSWORD,
        **others,
    }
    return settings(**values)


def write_and_read(chosen: config.Config) -> bytes | None:
    """Write one record and return its value."""
    producer = Producer(producer_options(chosen))
    try:
        at = producer.produce("orders", chosen.kafka_sasl_mechanism.encode()).result(20)
    finally:
        producer.close()
    reader = Reader(reader_options(chosen), on_out_of_range=lambda found: pytest.fail(str(found)))
    try:
        reader.assign([Position("orders", 0, at.offset)])
        found: list[Record] = []

        def has_come() -> bool:
            found.extend(reader.read(1, 0.5))
            return bool(found)

        eventually(has_come, "the record")
    finally:
        reader.close()
    return found[0].value


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512"])
def test_passwords_open_the_broker(broker: SecuredBroker, mechanism: str) -> None:
    assert write_and_read(by_password(broker, mechanism)) == mechanism.encode()


def test_a_token_opens_the_broker(broker: SecuredBroker) -> None:
    with token_server() as url:
        chosen = by_password(broker, "OAUTHBEARER", oauth_token_url=url)

        assert write_and_read(chosen) == b"OAUTHBEARER"


def test_a_certificate_opens_the_broker(broker: SecuredBroker) -> None:
    chosen = settings(
        bootstrap=broker.ssl,
        security_protocol="SSL",
        ssl_ca=broker.ca_file,
        ssl_cert=broker.certificate,
        ssl_key=broker.key,
    )

    assert write_and_read(chosen) is not None


def test_without_a_certificate_the_door_is_shut(broker: SecuredBroker) -> None:
    chosen = settings(bootstrap=broker.ssl, security_protocol="SSL", ssl_ca=broker.ca_file)

    with pytest.raises(KafkaUnavailable):
        Admin(admin_options(chosen)).cluster_id()


def test_a_wrong_password_is_said_to_be_one(broker: SecuredBroker) -> None:
    chosen = by_password(broker, "SCRAM-SHA-512", sasl_password="wrong")

    with pytest.raises(KafkaUnavailable, match=r"(?i)authentication"):
        Admin(admin_options(chosen)).cluster_id()


def test_a_broker_of_an_unknown_authority_is_not_spoken_to(
    broker: SecuredBroker, tmp_path: Path
) -> None:
    stranger = tmp_path / "ca.pem"
    stranger.write_bytes(broker.certificate.read_bytes())
    chosen = by_password(broker, "PLAIN", ssl_ca=stranger)

    with pytest.raises(KafkaUnavailable):
        Admin(admin_options(chosen)).cluster_id()


def test_a_token_needs_to_know_where_it_is_had(broker: SecuredBroker) -> None:
    with pytest.raises(config.ConfigError, match="KAFKAHUB_KAFKA_OAUTH_TOKEN_URL"):
        by_password(broker, "OAUTHBEARER")
