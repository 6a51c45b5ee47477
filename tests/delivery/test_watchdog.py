"""An engine that owes records and gets nowhere is ended; one that waits for others is not."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import UUID, uuid4

import pytest

from delivery import positions
from delivery.database import connect
from delivery.inbox import Alibi, Note, Place
from delivery.watchdog import RUNNING, WAITING_KAFKA, Patience, Watchdog
from kafkahub.kafka.faults import KafkaUnavailable
from tests import factories
from tests.delivery import makers
from tests.delivery.links import url
from tests.delivery.rig import PLACE, Rig

LIMIT_S = 60.0
TOPIC, OTHER = "orders", "parcels"


def test_a_floor_that_moves_is_never_late() -> None:
    patience = Patience(LIMIT_S)

    for turn in range(10):
        assert not patience.late({PLACE: turn}, turn * LIMIT_S)


def test_a_floor_that_stands_still_is_late_after_the_limit() -> None:
    patience = Patience(LIMIT_S)
    patience.late({PLACE: 7}, 0.0)

    assert not patience.late({PLACE: 7}, LIMIT_S - 1)
    assert patience.late({PLACE: 7}, LIMIT_S) == {PLACE: 7}


def test_who_has_an_excuse_or_comes_back_begins_anew() -> None:
    patience = Patience(LIMIT_S)
    patience.late({PLACE: 7}, 0.0)
    patience.late({PLACE: 7}, LIMIT_S)
    patience.excuse([PLACE], LIMIT_S)
    assert not patience.late({PLACE: 7}, LIMIT_S + 1)

    patience.late({}, LIMIT_S + 2)
    assert not patience.late({PLACE: 7}, 3 * LIMIT_S)


def test_after_a_rest_all_begin_anew() -> None:
    patience = Patience(LIMIT_S)
    patience.late({PLACE: 7}, 0.0)

    patience.rest()

    assert not patience.late({PLACE: 7}, LIMIT_S)


@dataclass
class Kennel:
    """A watchdog whose looks the test asks for, with Kafka and the dispatcher in its hand."""

    owner: UUID = field(default_factory=uuid4)
    now: float = 1_000.0
    read_at: float | None = None
    ends: Mapping[int, int] | None = field(default_factory=lambda: {0: 100, 1: 100})
    owing: frozenset[Place] | None = frozenset({(TOPIC, 0), (TOPIC, 1)})
    barks: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.dog = Watchdog(
            self.owner,
            lambda: connect(url(), "watchdog under test"),
            ends=self._ends,
            post=self._post,
            read_at=lambda: self.now if self.read_at is None else self.read_at,
            bark=self.barks.append,
            limit_s=LIMIT_S,
            monotonic=lambda: self.now,
            answer_s=0.01,
        )

    def _ends(self, _topic: str) -> Mapping[int, int]:
        if self.ends is None:
            raise KafkaUnavailable("away")
        return self.ends

    def _post(self, note: Note) -> None:
        assert isinstance(note, Alibi)
        if self.owing is not None:
            note.owing = self.owing
            note.done.set()

    def claim(self, partition: int = 0, next_offset: int = 7) -> None:
        with factories.connect() as conn:
            positions.start(conn, TOPIC, partition, self.owner, next_offset=next_offset)

    def move(self, next_offset: int) -> None:
        with factories.connect() as conn:
            conn.execute("UPDATE partition_position SET next_offset = %s", [next_offset])

    def wait(self, seconds: float = LIMIT_S) -> None:
        """Look, let the time pass, and look again."""
        with factories.connect() as conn:
            self.dog.look(conn)
            self.now += seconds
            self.dog.look(conn)


@pytest.fixture
def kennel(transactional_db: None) -> Kennel:
    return Kennel()


def test_a_partition_with_lag_that_stands_still_ends_the_engine(kennel: Kennel) -> None:
    kennel.claim()

    kennel.wait(LIMIT_S - 1)
    assert not kennel.barks

    kennel.wait(1)
    assert kennel.barks == ["watchdog"]


def test_a_partition_without_lag_may_stand_still_for_ever(kennel: Kennel) -> None:
    kennel.claim(next_offset=100)

    kennel.wait(100 * LIMIT_S)

    assert not kennel.barks


def test_one_that_moves_however_slowly_is_well(kennel: Kennel) -> None:
    kennel.claim()
    for floor in range(8, 12):
        kennel.wait(LIMIT_S - 1)
        kennel.move(floor)

    assert not kennel.barks


def test_one_partition_that_stands_still_is_enough(kennel: Kennel) -> None:
    kennel.claim(0)
    kennel.claim(1, next_offset=100)

    kennel.wait()

    assert kennel.barks


def test_a_partition_that_another_engine_has_claimed_is_not_ours_to_move(kennel: Kennel) -> None:
    kennel.claim()
    with factories.connect() as conn:
        positions.claim(conn, TOPIC, 0, uuid4())

    kennel.wait()

    assert not kennel.barks


def test_what_the_dispatcher_does_not_hold_or_waits_with_on_purpose_is_excused(
    kennel: Kennel,
) -> None:
    kennel.claim()
    kennel.owing = frozenset()

    kennel.wait()

    assert not kennel.barks


def test_a_dispatcher_that_does_not_answer_hangs_itself(kennel: Kennel) -> None:
    kennel.claim()
    kennel.owing = None

    kennel.wait()

    assert kennel.barks


def test_a_shared_reader_that_does_not_turn_ends_the_engine(kennel: Kennel) -> None:
    kennel.read_at = kennel.now

    kennel.wait()

    assert kennel.barks


def test_while_kafka_is_away_it_rests_and_then_begins_anew(kennel: Kennel) -> None:
    kennel.claim()
    ends, kennel.ends = kennel.ends, None

    kennel.wait(10 * LIMIT_S)
    assert (kennel.barks, kennel.dog.state) == ([], WAITING_KAFKA)

    kennel.ends = ends
    kennel.wait(LIMIT_S - 1)
    assert (kennel.barks, kennel.dog.state) == ([], RUNNING)
    kennel.wait(1)
    assert kennel.barks


def test_an_endpoint_that_asked_to_be_left_alone_excuses_its_partition() -> None:
    rig = Rig(makers.subscription("sub_1"))
    rig.assign()
    rig.feed(0, 1, 2, 3)
    rig.turns.window("ep_1", 1).not_before = rig.now + 3_600

    assert PLACE not in asked(rig)

    rig.turns.window("ep_1", 1).not_before = rig.now
    assert asked(rig) == {PLACE}


def asked(rig: Rig) -> frozenset[Place]:
    alibi = Alibi()
    rig.post(alibi)
    assert alibi.done.is_set()
    return alibi.owing
