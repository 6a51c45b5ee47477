"""Questions to the cluster, on a real broker and on the in-memory one."""

import pytest

from kafkahub import config
from kafkahub.kafka import options
from kafkahub.kafka.admin import Admin
from kafkahub.kafka.faults import KafkaUnavailable, NoAdminApi, UnknownTopic
from tests.kafkahub.kafka.conftest import Produce

NOWHERE = "127.0.0.1:1"


def test_the_cluster_has_a_lasting_id(admin: Admin) -> None:
    assert admin.cluster_id() == admin.cluster_id() != ""


def test_a_topic_tells_its_partitions(admin: Admin, topic: str) -> None:
    assert admin.partitions(topic) == 4
    assert admin.topics()[topic] == 4


def test_asking_for_an_unknown_topic_does_not_make_it(admin: Admin) -> None:
    with pytest.raises(UnknownTopic):
        admin.partitions("test.nothing")
    with pytest.raises(UnknownTopic):
        admin.watermarks("test.nothing")

    assert "test.nothing" not in admin.topics()


def test_making_a_topic_twice_is_no_error(admin: Admin, topic: str) -> None:
    assert admin.create_topic(topic, 4) == 4


def test_watermarks_are_the_first_offset_and_the_next_one(
    admin: Admin, topic: str, produce: Produce
) -> None:
    for _ in range(3):
        produce(partition=1)

    assert admin.watermarks(topic) == {0: (0, 0), 1: (0, 3), 2: (0, 0), 3: (0, 0)}


@pytest.mark.kafka
@pytest.mark.parametrize("settings", ["apache"], indirect=True)
def test_a_time_gives_the_first_record_of_that_time_or_later(
    admin: Admin, topic: str, produce: Produce
) -> None:
    for ms in (1_700_000_000_000, 1_700_000_001_000, 1_700_000_002_000):
        produce(partition=0, timestamp_ms=ms)

    assert admin.offsets_at(topic, 1_700_000_000_001)[0] == 1
    assert admin.offsets_at(topic, 0) == {0: 0, 1: 0, 2: 0, 3: 0}


@pytest.mark.kafka
@pytest.mark.parametrize("settings", ["apache"], indirect=True)
def test_a_time_after_the_last_record_gives_the_end(
    admin: Admin, topic: str, produce: Produce
) -> None:
    produce(partition=0, timestamp_ms=1_700_000_000_000)

    assert admin.offsets_at(topic, 1_700_000_000_001) == {0: 1, 1: 0, 2: 0, 3: 0}


@pytest.mark.kafka
@pytest.mark.parametrize("settings", ["apache"], indirect=True)
def test_a_topic_has_an_id_of_its_own(admin: Admin, topic: str) -> None:
    other = f"{topic}.other"
    admin.create_topic(other, 1)

    assert admin.topic_id(topic) == admin.topic_id(topic) != admin.topic_id(other)
    with pytest.raises(UnknownTopic):
        admin.topic_id("test.nothing")


@pytest.mark.parametrize("settings", ["memory"], indirect=True)
def test_the_in_memory_cluster_says_what_it_cannot_answer(admin: Admin, topic: str) -> None:
    assert admin.is_in_memory()
    with pytest.raises(NoAdminApi):
        admin.offsets_at(topic, 0)
    with pytest.raises(NoAdminApi):
        admin.topic_id(topic)


def test_a_broker_that_is_away_is_told_within_the_deadline() -> None:
    settings = config.load().model_copy(update={"kafka_bootstrap": NOWHERE})
    admin = Admin(options.admin_options(settings))

    with pytest.raises(KafkaUnavailable):
        admin.cluster_id(deadline_s=0.3)


@pytest.mark.kafka
def test_a_broker_that_turns_us_away_is_told_with_its_reason() -> None:
    settings = config.load().model_copy(update={"kafka_security_protocol": "SSL"})
    admin = Admin(options.admin_options(settings))

    with pytest.raises(KafkaUnavailable, match="SSL"):
        admin.cluster_id(deadline_s=1.0)
