"""The settings of this installation as librdkafka's options, with the values that never change."""

from kafkahub.config import Config

Options = dict[str, str | int | bool]

BASE: Options = {
    "client.id": "kafkahub",
    "log_level": 2,  # lines about errors come by callback as well, and 20 times a second
    "socket.keepalive.enable": True,
    "socket.connection.setup.timeout.ms": 5_000,
    "reconnect.backoff.ms": 100,
    "reconnect.backoff.max.ms": 2_000,  # a broker that comes back is found within 2 s
    "topic.metadata.refresh.interval.ms": 30_000,  # new partitions are seen within 60 s
    "enable.metrics.push": False,  # a broker may ask clients for figures; none leave unasked
}
READING: Options = {
    "enable.auto.commit": False,  # positions are ours, in PostgreSQL
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",  # an unknown offset is a gap to announce, never a jump
    "isolation.level": "read_committed",
    "allow.auto.create.topics": False,
    "enable.partition.eof": True,  # else a reader never passes an aborted tail of a partition
    "check.crcs": True,
    "queued.min.messages": 1_000,  # the defaults hold 100,000 records or 64 MiB a consumer
    "queued.max.messages.kbytes": 8_192,
    "fetch.max.bytes": 8_388_608,
    "max.partition.fetch.bytes": 1_048_576,
    "fetch.wait.max.ms": 100,
    "fetch.error.backoff.ms": 100,
    "fetch.queue.backoff.ms": 20,
}
MEMBER: Options = {
    "group.protocol": "classic",  # the newer one leaves the session timeout to the broker: 45 s
    "partition.assignment.strategy": "cooperative-sticky",
    "session.timeout.ms": 6_000,  # the least that brokers usually allow
    "heartbeat.interval.ms": 2_000,
    "max.poll.interval.ms": 60_000,
}
PRODUCING: Options = {
    "enable.idempotence": True,
    "acks": "all",
    "message.timeout.ms": 15_000,  # every produce has its answer within 20 s
    "request.timeout.ms": 7_000,
    "partitioner": "murmur2_random",  # the partition that Java producers choose for a key
    "linger.ms": 5,
    "compression.type": "lz4",
    "queue.buffering.max.messages": 20_000,
    "queue.buffering.max.kbytes": 65_536,
}


NAMES = {"OAUTHBEARER": ("sasl.oauthbearer.client.id", "sasl.oauthbearer.client.secret")}
"""What user and password are called where it is not as usual."""


def consumer_options(config: Config) -> Options:
    """Return the options of a member of the engines' group; the group's name comes later."""
    return BASE | READING | MEMBER | _security(config)


def reader_options(config: Config) -> Options:
    """Return the options of a reader with assigned partitions.

    librdkafka wants a group's name of every consumer. The engines' own is given, because the
    brokers' access rules allow it already; a reader never joins it nor commits to it.
    """
    return BASE | READING | _security(config) | {"group.id": config.kafka_group}


def producer_options(config: Config) -> Options:
    """Return the options of an idempotent producer."""
    return BASE | PRODUCING | _security(config)


def admin_options(config: Config) -> Options:
    """Return the options of a client that asks about topics."""
    return BASE | _security(config)


def _security(config: Config) -> Options:
    options: Options = {
        "bootstrap.servers": config.kafka_bootstrap,
        "security.protocol": config.kafka_security_protocol,
    }
    return options | _sasl(config) | _tls(config)


def _sasl(config: Config) -> Options:
    if "SASL" not in config.kafka_security_protocol:
        return {}
    options: Options = {"sasl.mechanism": config.kafka_sasl_mechanism}
    user, password = NAMES.get(config.kafka_sasl_mechanism, ("sasl.username", "sasl.password"))
    if config.kafka_sasl_username:
        options[user] = config.kafka_sasl_username
    if config.kafka_sasl_password:
        options[password] = config.kafka_sasl_password.get_secret_value()
    if config.kafka_oauth_token_url and config.kafka_sasl_mechanism == "OAUTHBEARER":
        options["sasl.oauthbearer.method"] = "oidc"
        options["sasl.oauthbearer.token.endpoint.url"] = config.kafka_oauth_token_url
    return options


def _tls(config: Config) -> Options:
    files = {
        "ssl.ca.location": config.kafka_ssl_ca,
        "ssl.certificate.location": config.kafka_ssl_cert,
        "ssl.key.location": config.kafka_ssl_key,
    }
    if "SSL" not in config.kafka_security_protocol:
        return {}
    # The defaults, written down: no setting may switch them off.
    options: Options = {
        "enable.ssl.certificate.verification": True,
        "ssl.endpoint.identification.algorithm": "https",
    }
    options |= {name: str(path) for name, path in files.items() if path}
    if config.kafka_ssl_key_password:
        options["ssl.key.password"] = config.kafka_ssl_key_password.get_secret_value()
    return options
