"""The checker finds each kind of broken promise, and nothing where none is broken."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from tests.torture.checker import Verdict, judge
from tests.torture.history import Arrival, Fault, Gap, History, Lane, Parked, Produced

TOPIC = "orders"


def record(seq: int, key: str = "k", half: int = 0) -> Produced:
    return Produced((TOPIC, 0, seq), "alice", key, seq, half)


def arrival(seq: int, at: float, status: int = 204, **members: object) -> Arrival:
    made = Arrival(at, "hook", f"msg_{seq}", seq, f"body {seq}", 1, status)
    return replace(made, **members)  # type: ignore[arg-type]  # members of an Arrival


def history(arrivals: Sequence[Arrival], *, ordering: str = "none", **members: object) -> History:
    produced = [record(seq) for seq in range(3)]
    made = History(
        lanes=[Lane("hook", "alice", TOPIC, ordering)],
        records=produced,
        acked=frozenset(one.place for one in produced),
        unknown=0,
        arrivals={"alice": arrivals},
    )
    return replace(made, **members)  # type: ignore[arg-type]  # members of a History


def in_turn(count: int = 3) -> list[Arrival]:
    return [arrival(seq, 10.0 + seq) for seq in range(count)]


def verdict(arrivals: Sequence[Arrival], **members: object) -> Verdict:
    return judge(history(arrivals, **members))  # type: ignore[arg-type]  # members of a History


def test_a_run_in_which_everything_came_once_passes() -> None:
    found = verdict(in_turn(), ordering="partition")

    assert found.is_pass
    assert (found.deliveries, found.distinct, found.duplicates) == (3, 3, 0)


def test_what_came_to_nobody_is_missing() -> None:
    found = verdict(in_turn(2))

    assert found.missing == 1
    assert not found.is_pass


def test_a_failed_attempt_is_no_delivery() -> None:
    assert verdict([*in_turn(2), arrival(2, 12, status=500)]).missing == 1


def test_what_is_parked_is_not_missing() -> None:
    row = Parked("hook", (TOPIC, 0, 2), "dead")

    assert verdict(in_turn(2), parked=[row]).is_pass


def test_what_is_in_an_announced_gap_is_not_missing() -> None:
    gap = Gap("hook", TOPIC, 0, 2, 2)

    assert verdict(in_turn(2), gaps=[gap]).missing == 0


def test_a_gap_over_what_kafka_still_holds_is_a_false_one() -> None:
    assert verdict(in_turn(), gaps=[Gap("hook", TOPIC, 0, 2, 2)]).gap_violations == 1


def test_what_does_not_pass_the_filter_is_not_owed() -> None:
    lanes = [Lane("hook", "alice", TOPIC, half=1)]

    assert verdict([], lanes=lanes).is_pass


def test_what_does_not_pass_the_filter_and_comes_is_a_phantom() -> None:
    assert verdict(in_turn(), lanes=[Lane("hook", "alice", TOPIC, half=1)]).phantom == 3


def test_what_was_never_produced_is_a_phantom() -> None:
    assert verdict([*in_turn(), arrival(99, 13)]).phantom == 1


def test_an_acknowledged_record_that_kafka_does_not_hold_is_counted() -> None:
    acked = frozenset({(TOPIC, 0, seq) for seq in range(4)})

    assert verdict(in_turn(), acked=acked).acked_lost == 1


def test_copies_within_what_a_fault_may_cost_pass() -> None:
    fault = Fault("F01", at=10, healed=10, until=20, doubles=1)

    found = verdict([*in_turn(), arrival(0, 15)], faults=[fault])

    assert (found.duplicates, found.duplicate_bound) == (1, 1)
    assert found.is_pass


def test_a_copy_with_no_fault_to_blame_fails() -> None:
    assert not verdict([*in_turn(), arrival(0, 15)]).is_pass


def test_a_copy_in_the_time_of_a_fault_that_may_cost_none_fails() -> None:
    deploy = Fault("F10", at=9, healed=16, until=16, doubles=0)
    crash = Fault("F01", at=20, healed=20, until=30, doubles=100)

    found = verdict([*in_turn(), arrival(0, 25)], faults=[deploy, crash])

    assert found.overdrawn == ["F10: 1 copies, 0 allowed"]
    assert not found.is_pass


def test_an_answer_that_the_sink_lost_makes_the_next_copy_a_rightful_one() -> None:
    lost = arrival(0, 10, status=200, is_lost=True)

    assert verdict([lost, *in_turn()]).duplicates == 0


@pytest.mark.parametrize("ordering", ["key", "partition"])
def test_an_attempt_before_an_earlier_record_was_delivered_breaks_the_order(ordering: str) -> None:
    arrivals = [arrival(1, 10), arrival(0, 11), arrival(2, 12)]

    assert verdict(arrivals, ordering=ordering).order_violations == 1
    assert verdict(arrivals, ordering="none").is_pass


def test_records_of_other_keys_may_overtake_each_other() -> None:
    records = [record(0, "a"), record(1, "b"), record(2, "a")]
    arrivals = [arrival(1, 10), arrival(0, 11), arrival(2, 12)]

    assert verdict(arrivals, ordering="key", records=records).is_pass
    assert verdict(arrivals, ordering="partition", records=records).order_violations == 1


def test_a_late_copy_breaks_no_order() -> None:
    fault = Fault("F01", at=12, healed=12, until=20, doubles=1)

    assert verdict([*in_turn(), arrival(0, 13)], ordering="key", faults=[fault]).is_pass


def test_nothing_goes_out_behind_a_parked_head_that_is_still_owed() -> None:
    row = Parked("hook", (TOPIC, 0, 0), "scheduled")
    arrivals = [arrival(0, 10, status=500), arrival(1, 11), arrival(2, 12)]

    assert verdict(arrivals, ordering="key", parked=[row]).order_violations == 2


def test_what_waited_for_a_dead_letters_last_attempt_is_in_order() -> None:
    row = Parked("hook", (TOPIC, 0, 0), "dead")
    attempts = [arrival(0, 10, status=500), arrival(0, 13, status=500)]

    in_order = [*attempts, arrival(1, 14), arrival(2, 15)]
    too_soon = [attempts[0], arrival(1, 11), attempts[1], arrival(2, 15)]

    assert verdict(in_order, ordering="key", parked=[row]).is_pass
    assert verdict(too_soon, ordering="key", parked=[row]).order_violations == 1


def test_a_dead_letter_that_a_late_engine_tries_again_holds_nothing_up() -> None:
    row = Parked("hook", (TOPIC, 0, 0), "dead", died_at=10.5)
    arrivals = [arrival(0, 10, status=500), arrival(1, 11), arrival(0, 12, status=500)]

    assert verdict([*arrivals, arrival(2, 13)], ordering="key", parked=[row]).is_pass
    early = replace(row, died_at=11.5)
    assert verdict([*arrivals, arrival(2, 13)], ordering="key", parked=[early]).order_violations


def test_a_copy_is_charged_to_the_time_of_the_delivery_that_was_forgotten() -> None:
    crash = Fault("F01", at=11, healed=12, until=14, doubles=1)
    deploy = Fault("F10", at=70, healed=80, until=80, doubles=0)

    assert not verdict([*in_turn(), arrival(0, 75)], faults=[crash, deploy]).overdrawn


def test_an_id_that_changes_between_two_attempts_is_found() -> None:
    again = arrival(0, 9, status=500, webhook_id="msg_other")

    assert verdict([again, *in_turn()]).id_violations == 1


def test_a_body_that_changes_between_two_attempts_is_found() -> None:
    again = arrival(0, 9, status=500, body="other")

    assert verdict([again, *in_turn()]).id_violations == 1


def test_an_id_of_two_records_is_found() -> None:
    arrivals = [*in_turn(2), arrival(2, 12, webhook_id="msg_1")]

    assert verdict(arrivals).id_violations == 1


def test_a_wrong_signature_is_found() -> None:
    assert verdict([*in_turn(2), arrival(2, 12, is_signed=False)]).bad_signatures == 1


def test_a_foreign_canary_is_found() -> None:
    assert verdict([*in_turn(2), arrival(2, 12, foreign=True)]).foreign_canaries == 1
    assert verdict(in_turn(), leaked_canaries=1).foreign_canaries == 1


def test_a_recovery_that_takes_too_long_is_named() -> None:
    slow = Fault("F01", at=10, healed=10, until=30, doubles=0, limit_s=5)
    arrivals = [arrival(0, 9), arrival(1, 9.5), arrival(2, 18)]

    found = verdict(arrivals, faults=[slow])

    assert found.late == ["F01: 8.0 s, 5 allowed"]
    assert found.recovery_s == {"p50": 8.0, "max": 8.0}
    assert judge(history(arrivals, faults=[slow]), slack=3).is_pass


def test_what_was_on_its_way_when_the_fault_came_is_no_recovery() -> None:
    slow = Fault("F01", at=10, healed=10, until=30, doubles=0, limit_s=5)

    assert verdict([arrival(0, 10.1), arrival(1, 18), arrival(2, 18.1)], faults=[slow]).late


def test_a_recovery_is_not_measured_while_another_fault_lasts() -> None:
    slow = Fault("F01", at=10, healed=10, until=30, doubles=0, limit_s=5)
    other = Fault("PG01", at=12, healed=17, until=18, doubles=0)

    assert not verdict([arrival(0, 9), arrival(1, 9.5), arrival(2, 18)], faults=[slow, other]).late


def test_the_outage_of_one_tenant_does_not_excuse_another() -> None:
    slow = Fault("E21", at=8, healed=10, until=30, doubles=0, limit_s=5, tenants=("alice",))
    other = Fault("E21", at=12, healed=17, until=18, doubles=0, tenants=("bob",))

    found = verdict([arrival(0, 7), arrival(1, 7.5), arrival(2, 18)], faults=[slow, other])

    assert found.late


def test_a_run_that_did_not_come_to_rest_fails() -> None:
    assert not verdict(in_turn(), is_settled=False).is_pass
