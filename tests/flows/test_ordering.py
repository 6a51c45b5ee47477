"""No record overtakes an earlier one of its key or partition, whatever is killed meanwhile."""

import itertools
import json
import threading
import zlib
from collections.abc import Callable

import pytest

from delivery.actions import discard, send_again
from delivery.models import ParkedDelivery
from subscriptions.audit import Actor, Verb
from subscriptions.models import LanePosition, Subscription
from tests.fakes.endpoint import Connection, Endpoint, status
from tests.flows.conftest import Hub, wait_for

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]

RECORDS = 400
KEYS = 100
PARTITIONS = 2
POISON = 7


class Judge:
    """Answers each request by what it carries, and keeps the order they came in.

    fails  takes a record's number and how often it came before; True: it is refused
    seen   number and whether it was taken, in the order of arrival
    """

    def __init__(self, fails: Callable[[int, int], bool]) -> None:
        self.fails = fails
        self.seen: list[tuple[int, bool]] = []
        self._lock = threading.Lock()

    def __call__(self, connection: Connection) -> bool:
        number = json.loads(connection.request.body)["data"]["id"]
        with self._lock:
            before = sum(1 for other, _ in self.seen if other == number)
            is_taken = not self.fails(number, before)
            self.seen.append((number, is_taken))
        return status(200 if is_taken else 400)(connection)

    def taken(self) -> set[int]:
        with self._lock:
            return {number for number, is_taken in self.seen if is_taken}

    def violations(self, lane_of: Callable[[int], object]) -> list[tuple[int, int]]:
        """Return (earlier, later) where the later one came before the earlier one was taken."""
        with self._lock:
            seen = list(self.seen)
        first_seen: dict[int, int] = {}
        first_taken: dict[int, int] = {}
        for at, (number, is_taken) in enumerate(seen):
            first_seen.setdefault(number, at)
            if is_taken:
                first_taken.setdefault(number, at)
        lanes: dict[object, list[int]] = {}
        for number in sorted(first_seen):
            lanes.setdefault(lane_of(number), []).append(number)
        return [
            (earlier, later)
            for lane, numbers in lanes.items()
            if lane is not None
            for earlier, later in itertools.pairwise(numbers)
            if first_taken.get(earlier, len(seen)) > first_seen[later]
        ]


def key_of(number: int) -> bytes | None:
    """Return the key of a record; a few have none, and so no order."""
    return None if number % 50 == 49 else b"%d" % (number % KEYS)


def partition_of(number: int) -> int:
    """Return where the records of this test are: those of a key together."""
    return number % KEYS % PARTITIONS


def start(hub: Hub, by_key: Endpoint, by_partition: Endpoint) -> tuple[Subscription, Subscription]:
    topic = hub.topic(PARTITIONS)
    made = []
    for receiver, ordering in ((by_key, "key"), (by_partition, "partition")):
        endpoint, _ = hub.endpoint(receiver.url)
        made.append(
            hub.subscribe(
                topic,
                endpoint,
                partitions=PARTITIONS,
                ordering=ordering,
                retry_schedule_s=[1] * 30,
                retry_jitter=0.0,
            )
        )
    for number in range(RECORDS):
        value = json.dumps({"id": number}).encode()
        hub.producer.produce(topic, value, key_of(number), partition=partition_of(number))
    hub.producer.flush(30)
    return made[0], made[1]


def now_and_then(number: int, before: int) -> bool:
    """Refuse about every sixth record, once or twice."""
    chance = zlib.crc32(b"%d" % number)
    return chance % 6 == 0 and before <= chance % 2


def seldom(number: int, before: int) -> bool:
    return number % 150 == 40 and before == 0


@pytest.mark.parametrize(
    "failpoint",
    [
        "send.after_2xx=kill@60",
        "checkpoint.before_commit=kill@4",
        "park.claimed=kill@2",
    ],
)
def test_order_holds_when_an_engine_dies(hub: Hub, failpoint: str) -> None:
    keys, lanes = Judge(now_and_then), Judge(seldom)
    with Endpoint(keys) as one, Endpoint(lanes) as two:
        start(hub, one, two)
        first = hub.engine(failpoints=failpoint)
        wait_for(lambda: not first.is_alive(), lambda: (len(keys.seen), len(lanes.seen)))
        hub.engine()
        wait_for(lambda: len(keys.taken()) == RECORDS, lambda: len(keys.taken()))
        wait_for(lambda: len(lanes.taken()) == RECORDS, lambda: len(lanes.taken()))
        wait_for(lambda: not ParkedDelivery.objects.exists(), rows)

    assert keys.violations(key_of) == []
    assert lanes.violations(partition_of) == []


def test_a_new_owner_keeps_what_is_blocked_behind_a_poisoned_key(hub: Hub) -> None:
    is_poisoned = threading.Event()
    is_poisoned.set()

    def fails(number: int, _: int) -> bool:
        return is_poisoned.is_set() and number % KEYS == POISON

    keys, lanes = Judge(fails), Judge(lambda *_: False)
    with Endpoint(keys) as one, Endpoint(lanes) as two:
        by_key, _ = start(hub, one, two)
        first = hub.engine()
        behind = ParkedDelivery.objects.filter(subscription=by_key, state="blocked")
        wait_for(lambda: behind.count() == RECORDS // KEYS - 1, rows)
        wait_for(lambda: len(keys.taken()) == RECORDS - RECORDS // KEYS, lambda: len(keys.taken()))
        first.kill()
        hub.engine()
        is_poisoned.clear()
        wait_for(lambda: len(keys.taken()) == RECORDS, rows)
        wait_for(lambda: not ParkedDelivery.objects.exists(), rows)

    assert keys.violations(key_of) == []


def test_a_poisoned_record_holds_its_partition_and_is_tried_by_its_schedule(hub: Hub) -> None:
    poisoned = Judge(lambda number, before: number == POISON and before < 3)
    with Endpoint(Judge(lambda *_: False)) as one, Endpoint(poisoned) as two:
        _, by_partition = start(hub, one, two)
        hub.engine()
        lane = LanePosition.objects.filter(
            subscription=by_partition, partition=partition_of(POISON), reason="head"
        )
        wait_for(lambda: lane.filter(head_attempts=2).exists(), lambda: list(lane.values()))
        wait_for(lambda: len(poisoned.taken()) == RECORDS, lambda: len(poisoned.taken()))

    assert poisoned.violations(partition_of) == []
    assert not ParkedDelivery.objects.filter(subscription=by_partition).exists()


def test_a_held_partition_goes_on_once_a_person_has_decided(hub: Hub) -> None:
    topic = hub.topic()
    stubborn = Judge(lambda number, before: number == 1 or (number == 3 and before == 0))
    with Endpoint(stubborn) as receiver:
        endpoint, _ = hub.endpoint(receiver.url)
        hub.subscribe(
            topic, endpoint, ordering="partition", retry_schedule_s=[], on_exhausted="hold"
        )
        hub.engine()
        hub.produce(topic, [json.dumps({"id": number}).encode() for number in range(5)])
        held = ParkedDelivery.objects.filter(state="held")
        lane = LanePosition.objects.filter(state="paused", reason="held")
        wait_for(lambda: held.exists() and lane.exists(), rows)

        discard(Actor("key", "key_1"), held.get(), "not wanted")
        wait_for(lambda: held.filter(offset=3).exists() and lane.exists(), rows)
        send_again(Actor("key", "key_1"), held.get(), None, verb=Verb.PARKED_REDRIVEN)
        wait_for(lambda: stubborn.taken() == {0, 2, 3, 4}, rows)
        wait_for(lambda: LanePosition.objects.get().state == "live", LanePosition.objects.values)

    assert [number for number, _ in stubborn.seen] == [0, 1, 2, 3, 3, 4]


def rows() -> object:
    return list(ParkedDelivery.objects.values("state", "offset", "attempts", "order_key"))
