"""An engine dies at each crash point in turn: nothing is lost, and no more is doubled than told.

One request and one unwritten outcome at a time, so that the bound of each place is exact.
"""

import json
import signal
from collections import Counter

import pytest
from django.conf import settings

from delivery.models import ParkedDelivery, PartitionPosition
from subscriptions.models import LanePosition
from tests.fakes.endpoint import Endpoint, ok, status
from tests.flows.conftest import Hub, Process, wait_for

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(120)]

RECORDS = 12
ONE_BY_ONE = {"delivery_max_in_flight": "1", "delivery_checkpoint_outcomes": "1"}


def produce(hub: Hub, topic: str, numbers: range) -> None:
    hub.produce(topic, [json.dumps({"id": number}).encode() for number in numbers])


def counts(receiver: Endpoint) -> Counter[int]:
    return Counter(json.loads(request.body)["data"]["id"] for request in receiver.received)


def dying(hub: Hub, failpoint: str, nth: int = 1) -> Process:
    """Start an engine that dies at the n-th time it passes a failpoint."""
    return hub.engine(**ONE_BY_ONE, failpoints=f"{failpoint}=kill@{nth}")


def next_engine(hub: Hub) -> None:
    """Start an engine in another group, which need not wait until Kafka gives the dead one up."""
    hub.engine(**ONE_BY_ONE, kafka_group=f"after-{len(hub.processes)}-{settings.SECRET_KEY[:4]}")


def assert_killed(engine: Process) -> None:
    assert engine.wait(60) == -signal.SIGKILL


def assert_complete(receiver: Endpoint, numbers: range, copies: range, failures: int = 0) -> None:
    """Every record came, and beyond its failed attempts only so many copies."""
    wanted = set(numbers)
    wait_for(lambda: wanted <= counts(receiver).keys(), lambda: counts(receiver))
    wait_for(lambda: not ParkedDelivery.objects.exists(), ParkedDelivery.objects.values)
    assert len(receiver.received) - len(wanted) - failures in copies
    ids = {(request.headers["webhook-id"], request.body) for request in receiver.received}
    assert len(ids) == len(wanted)


@pytest.mark.parametrize(
    ("failpoint", "nth", "copies"),
    [
        ("consume.after_claim", 1, range(1)),
        ("lane.before_send", 3, range(1)),
        ("send.after_2xx", 3, range(1, 2)),
        ("checkpoint.before_commit", 3, range(2)),
        ("checkpoint.after_commit", 3, range(1)),
        ("lane.behind.after_row", 1, range(2)),
        ("backlog.mid_batch", 1, range(1)),
        ("handover.before_live", 1, range(2)),
    ],
)
def test_what_was_under_way_is_sent_again_and_nothing_else(
    hub: Hub, failpoint: str, nth: int, copies: range
) -> None:
    topic = hub.topic()
    with Endpoint() as receiver:
        endpoint, _ = hub.endpoint(receiver.url, max_in_flight=1)
        hub.subscribe(topic, endpoint)
        produce(hub, topic, range(RECORDS))
        assert_killed(dying(hub, failpoint, nth))

        next_engine(hub)

        assert_complete(receiver, range(RECORDS), copies)


@pytest.mark.parametrize(
    ("failpoint", "failures", "copies"),
    [
        # Not written, so the failure is forgotten and the record is tried as if for the first time.
        ("send.after_failure", 1, range(1)),
        ("park.before_commit", 1, range(1)),
        ("park.claimed", 1, range(1)),
    ],
)
def test_a_failed_record_is_tried_again_whether_its_row_was_written_or_not(
    hub: Hub, failpoint: str, failures: int, copies: range
) -> None:
    topic = hub.topic()
    with Endpoint(ok(), ok(), status(500), ok()) as receiver:
        endpoint, _ = hub.endpoint(receiver.url, max_in_flight=1)
        hub.subscribe(topic, endpoint, retry_schedule_s=[1, 1], retry_jitter=0.0)
        produce(hub, topic, range(RECORDS))
        assert_killed(dying(hub, failpoint))

        next_engine(hub)

        assert_complete(receiver, range(RECORDS), copies, failures)


def test_a_lane_that_was_about_to_fall_behind_catches_up(hub: Hub) -> None:
    topic = hub.topic()
    with Endpoint() as receiver:
        endpoint, _ = hub.endpoint(receiver.url, max_in_flight=1)
        hub.subscribe(topic, endpoint, retry_schedule_s=[1, 1, 1], retry_jitter=0.0)
        produce(hub, topic, range(RECORDS))
        engine = dying(hub, "lane.behind.before_row")
        wait_for(
            lambda: LanePosition.objects.filter(state="live").exists(), LanePosition.objects.values
        )
        wait_for(lambda: len(counts(receiver)) == RECORDS, lambda: counts(receiver))
        receiver.script(status(500))
        produce(hub, topic, range(100, 200))
        assert_killed(engine)

        receiver.script(ok())
        next_engine(hub)

        assert_complete(receiver, range(100, 200), range(1))


def test_what_was_read_and_never_sent_is_read_again(hub: Hub) -> None:
    topic = hub.topic()
    with Endpoint() as receiver:
        endpoint, _ = hub.endpoint(receiver.url, max_in_flight=1)
        hub.subscribe(topic, endpoint)
        engine = dying(hub, "consume.after_poll")
        # What is there before is brought by the backlog reader, and not by the shared one.
        wait_for(PartitionPosition.objects.exists, LanePosition.objects.values)
        produce(hub, topic, range(RECORDS))
        assert_killed(engine)

        next_engine(hub)

        assert_complete(receiver, range(RECORDS), range(2))


def test_an_engine_that_dies_as_it_begins_to_drain_doubles_what_was_out_at_most(hub: Hub) -> None:
    topic = hub.topic()
    with Endpoint() as receiver:
        endpoint, _ = hub.endpoint(receiver.url, max_in_flight=1)
        hub.subscribe(topic, endpoint)
        produce(hub, topic, range(RECORDS * 100))
        engine = dying(hub, "drain.begun")
        receiver.wait_for(RECORDS)
        engine.terminate()
        assert_killed(engine)

        next_engine(hub)

        assert_complete(receiver, range(RECORDS * 100), range(2))
