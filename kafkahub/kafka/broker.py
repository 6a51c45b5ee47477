"""What a broker speaks and what it allows us: for ``manage.py doctor`` only.

librdkafka tells neither a broker's version nor our rights as long as nothing is refused, so the
one is asked on the wire and the other through the admin API.
"""

import socket
import ssl
import struct
from collections.abc import Sequence
from contextlib import ExitStack

from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import AclOperation, AdminClient

from kafkahub.config import Config
from kafkahub.kafka.faults import KafkaUnavailable, NoAdminApi
from kafkahub.kafka.options import admin_options

DEADLINE_S = 5.0
FETCH = 1
"""Number of the request that reads records; its newest version tells the age of a broker."""

OLDEST_FETCH = 11
"""Reading from the nearest replica and refusing stale leaders: Apache Kafka 2.3, 2019."""

RELEASES = {11: "2.3", 12: "2.7", 13: "3.1", 14: "3.5", 15: "3.5", 16: "3.7", 17: "3.9", 18: "4.1"}
"""First Apache Kafka that speaks a version of Fetch."""

_API_VERSIONS = struct.pack(">hhih", 18, 0, 1, -1)  # request 18 in version 0, no client id
_ENTRY = struct.Struct(">hhh")
_MAX_ANSWER = 65_536


def release(config: Config) -> tuple[str, int]:
    """Return the least release the first reachable broker can be, and its version of Fetch.

    Raises KafkaUnavailable. Every broker answers this before it asks who we are.
    """
    faults = []
    for broker in config.kafka_bootstrap.split(","):
        host, _, port = broker.strip().rpartition(":")
        try:
            fetch = _newest(_ask(config, host.strip("[]"), int(port)), FETCH)
        except (OSError, ValueError, struct.error) as error:
            faults.append(f"{broker.strip()}: {error}")
            continue
        known = max((version for version in RELEASES if version <= fetch), default=0)
        return RELEASES.get(known, "0"), fetch
    raise KafkaUnavailable("; ".join(faults))


def missing_rights(config: Config, topics: Sequence[str]) -> list[str]:
    """Return what the brokers do not allow us, as ``READ on topic orders``.

    Raises KafkaUnavailable, and NoAdminApi where the brokers do not tell.
    """
    client = AdminClient({**admin_options(config)})
    try:
        return [*_of_topics(client, topics), *_of_group(client, config.kafka_group)]
    except KafkaException as error:
        raise KafkaUnavailable(error.args[0].str()) from error


def _of_topics(client: AdminClient, topics: Sequence[str]) -> list[str]:
    if not topics:
        return []
    asked = client.describe_topics(
        TopicCollection(list(topics)),
        include_authorized_operations=True,
        request_timeout=DEADLINE_S,
    )
    found = []
    for name, future in asked.items():
        allowed = future.result(DEADLINE_S + 1).authorized_operations
        if allowed is None:
            raise NoAdminApi("The brokers do not tell what is allowed.")
        needed = (AclOperation.READ, AclOperation.DESCRIBE)
        found += [f"{right.name} on topic {name}" for right in needed if right not in allowed]
    return found


def _of_group(client: AdminClient, group: str) -> list[str]:
    asked = client.describe_consumer_groups(
        [group], include_authorized_operations=True, request_timeout=DEADLINE_S
    )
    allowed = asked[group].result(DEADLINE_S + 1).authorized_operations
    if allowed is None or AclOperation.READ in allowed:
        return []
    return [f"READ on group {group}"]


def _ask(config: Config, host: str, port: int) -> bytes:
    """Return the broker's list of requests; the one exchange that needs no authentication."""
    with ExitStack() as stack:
        plain = stack.enter_context(socket.create_connection((host, port), DEADLINE_S))
        connection: socket.socket = plain
        if "SSL" in config.kafka_security_protocol:
            connection = stack.enter_context(
                _context(config).wrap_socket(plain, server_hostname=host)
            )
        connection.sendall(struct.pack(">i", len(_API_VERSIONS)) + _API_VERSIONS)
        (size,) = struct.unpack(">i", _exactly(connection, 4))
        if not 0 < size <= _MAX_ANSWER:
            raise ValueError("this is no Kafka broker")
        return _exactly(connection, size)


def _context(config: Config) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=config.kafka_ssl_ca)
    if config.kafka_ssl_cert:
        password = config.kafka_ssl_key_password
        context.load_cert_chain(
            config.kafka_ssl_cert,
            config.kafka_ssl_key,
            password.get_secret_value() if password else None,
        )
    return context


def _exactly(connection: socket.socket, count: int) -> bytes:
    read = b""
    while len(read) < count:
        piece = connection.recv(count - len(read))
        if not piece:
            raise ValueError("the broker hung up; is the security protocol right?")
        read += piece
    return read


def _newest(answer: bytes, request: int) -> int:
    """Return the newest version of a request; after a correlation id, an error and a count."""
    _, error, count = struct.unpack_from(">ihi", answer)
    if error:
        raise ValueError(f"the broker answered with error {error}")
    for number in range(count):
        key, _, newest = _ENTRY.unpack_from(answer, 10 + number * _ENTRY.size)
        if key == request:
            return int(newest)
    raise ValueError("the broker cannot be read from")
