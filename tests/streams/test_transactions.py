"""Transactions: what was aborted is never shown, and nobody waits for it."""

import pytest
from confluent_kafka import Producer

from kafkahub import config
from kafkahub.kafka.options import producer_options
from tests.streams.reading import numbers, reading
from tests.streams.web import Stage

pytestmark = [pytest.mark.kafka, pytest.mark.django_db(transaction=True)]


def transaction(stage: Stage, numbers: range, *, is_kept: bool) -> None:
    """Write numbered records in one transaction, and commit or abort it."""
    options = {**producer_options(config.load()), "transactional.id": f"tests-{stage.topic}"}
    producer = Producer(options)
    producer.init_transactions(20)
    producer.begin_transaction()
    for number in numbers:
        producer.produce(stage.topic, b'{"n":%d}' % number, key=b"key")
    producer.flush(20)
    if is_kept:
        producer.commit_transaction(20)
    else:
        producer.abort_transaction(20)


def test_an_aborted_transaction_is_never_shown(stage: Stage) -> None:
    with reading(stage) as opened:
        transaction(stage, range(100, 110), is_kept=False)
        transaction(stage, range(3), is_kept=True)

        assert numbers(opened.records(3)) == [0, 1, 2]
        last_id = opened.last_id
    assert last_id is not None

    with reading(stage, "?from=earliest") as all_of_it:
        assert numbers(all_of_it.records(3)) == [0, 1, 2]
    with reading(stage, last_event_id=last_id) as again:
        transaction(stage, range(3, 4), is_kept=True)
        assert numbers(again.records(1)) == [3]


def test_the_heartbeat_passes_what_was_aborted(stage: Stage) -> None:
    with reading(stage) as opened:
        first = opened.last_id
        transaction(stage, range(10), is_kept=False)

        beat = opened.until("heartbeat")

    assert beat.id != first
    assert beat.json["lag_records"] == 0
