"""PostgreSQL, Redis and Kafka, as the doctor sees them."""

from collections.abc import Iterator, Mapping

import psycopg
import redis
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor

from kafkahub import clock
from kafkahub.config import Config
from kafkahub.doctor.finding import DEADLINE_S, Finding, place, reason
from kafkahub.kafka import broker
from kafkahub.kafka.admin import Admin
from kafkahub.kafka.faults import KafkaUnavailable, NoAdminApi
from kafkahub.kafka.options import admin_options
from subscriptions.models import Topic

OLDEST_POSTGRES = 15
CLOCK_WARNING_S = 1.0
CLOCK_FAULT_S = 60.0
"""A receiver refuses webhooks whose time is 5 minutes off; one of those is ours at most."""


def database(config: Config) -> Iterator[Finding]:
    """Look at PostgreSQL: reachable, new enough, migrated, its clock near ours."""
    url = config.database_url.get_secret_value()
    try:
        with psycopg.connect(url, connect_timeout=DEADLINE_S, autocommit=True) as conn:
            version = conn.info.server_version // 10_000
            row = conn.execute("SELECT extract(epoch FROM clock_timestamp())::float8").fetchone()
            offset_s = (row[0] if row else 0.0) - clock.now().timestamp()
    except (psycopg.Error, OSError) as error:
        cure = "Start PostgreSQL, or mend KAFKAHUB_DATABASE_URL: host, port, user, password, name."
        yield Finding("fail", "database", f"{place(url)}: {reason(error)}", cure)
        return
    if version < OLDEST_POSTGRES:
        cure = f"Upgrade to PostgreSQL {OLDEST_POSTGRES} or newer."
        yield Finding("fail", "database", f"PostgreSQL {version} is too old", cure)
    else:
        yield Finding("ok", "database", f"PostgreSQL {version} at {place(url)}")
    yield _migrations()
    yield clock_of(offset_s)


def clock_of(offset_s: float) -> Finding:
    """Return what an offset of PostgreSQL's clock from ours, in seconds, means."""
    text = f"PostgreSQL's clock is {offset_s:+.2f} s from ours"
    cure = "Let both machines follow the same time servers (chrony, systemd-timesyncd)."
    if abs(offset_s) > CLOCK_FAULT_S:
        return Finding("fail", "clock", text, cure)
    if abs(offset_s) > CLOCK_WARNING_S:
        return Finding("warn", "clock", text, cure)
    return Finding("ok", "clock", text)


def cache(config: Config) -> Iterator[Finding]:
    """Look at Redis; deliveries go on without it, so its absence warns."""
    url = config.redis_url.get_secret_value()
    client = redis.Redis.from_url(url, socket_timeout=DEADLINE_S, socket_connect_timeout=DEADLINE_S)
    try:
        version = client.info("server")["redis_version"]
    except redis.RedisError as error:
        cure = "Start Redis, or mend KAFKAHUB_REDIS_URL. Deliveries go on, jobs wait."
        yield Finding("warn", "redis", f"{place(url)}: {reason(error)}", cure)
    else:
        yield Finding("ok", "redis", f"Redis {version} at {place(url)}")
    finally:
        client.close()


def kafka(config: Config) -> Iterator[Finding]:
    """Look at the brokers: reachable, new enough, exposed topics there, rights enough."""
    try:
        release, fetch_version = broker.release(config)
        admin = Admin(admin_options(config))
        there = admin.topics()
        is_in_memory = admin.is_in_memory()
    except KafkaUnavailable as error:
        cure = "Start Kafka, or mend KAFKAHUB_KAFKA_BOOTSTRAP and the security settings beside it."
        yield Finding("fail", "kafka", f"{config.kafka_bootstrap}: {error.detail}", cure)
        return
    if fetch_version < broker.OLDEST_FETCH:
        cure = f"Upgrade to Apache Kafka {broker.RELEASES[broker.OLDEST_FETCH]} or newer."
        yield Finding("fail", "kafka", "The broker is too old", cure)
    elif is_in_memory:
        cure = "Use a real broker for anything but a first look: this one forgets everything."
        yield Finding("warn", "kafka", "librdkafka's in-memory cluster, without admin API", cure)
    else:
        text = f"Apache Kafka {release} or newer at {config.kafka_bootstrap}, {len(there)} topics"
        yield Finding("ok", "kafka", text)
    yield from _exposed_topics(config, there, can_ask=not is_in_memory)


def _migrations() -> Finding:
    try:
        executor = MigrationExecutor(connection)
        waiting = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except DatabaseError as error:
        cure = "Let the user of KAFKAHUB_DATABASE_URL read its own schema."
        return Finding("fail", "database", f"Migrations cannot be read: {reason(error)}", cure)
    if waiting:
        cure = "Run: python manage.py migrate"
        return Finding("fail", "database", f"{len(waiting)} migrations are not applied", cure)
    return Finding("ok", "database", "Every migration is applied")


def _exposed_topics(
    config: Config, there: Mapping[str, int], *, can_ask: bool
) -> Iterator[Finding]:
    try:
        exposed = sorted(Topic.objects.filter(is_enabled=True).values_list("name", flat=True))
    except DatabaseError:
        return  # the look at the database has said so
    for name in exposed:
        if name not in there:
            cure = "Create it in Kafka, let us describe it (ACL), or disable it in the admin."
            yield Finding("fail", "kafka", f"Kafka does not show the exposed topic {name}", cure)
    if can_ask:
        yield from _rights(config, [name for name in exposed if name in there])


def _rights(config: Config, topics: list[str]) -> Iterator[Finding]:
    try:
        missing = broker.missing_rights(config, topics)
    except NoAdminApi as error:
        yield Finding("warn", "kafka", str(error), "Try a delivery: a refusal shows in the log.")
    except KafkaUnavailable as error:
        cure = "Let our user DESCRIBE the exposed topics and the group (ACL)."
        yield Finding("fail", "kafka", f"Rights cannot be read: {error.detail}", cure)
    else:
        for right in missing:
            user = config.kafka_sasl_username or "our client certificate's name"
            cure = f"Add an ACL: allow {user} {right}."
            yield Finding("fail", "kafka", f"The brokers do not allow {right}", cure)
        if not missing:
            text = f"Group {config.kafka_group} may read {len(topics)} exposed topics"
            yield Finding("ok", "kafka", text)
