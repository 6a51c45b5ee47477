"""An endpoint with nothing left to be asked with but failed heads is probed all the same."""

from dataclasses import replace

from delivery import inbox, suspicion
from delivery.breaker import SILENCE_S
from delivery.inbox import Found
from delivery.lanes import LaneState
from delivery.ledger import ParkedRow
from delivery.positions import LaneRow
from tests.delivery import makers
from tests.delivery.rig import Rig, offsets, row

KEYED = makers.subscription(ordering="key")
TAG = b"0123456789abcdef"
FAILING = Found(row(), waiting=frozenset({TAG}), failing_us=int(900.0 * 1e6))


def head() -> ParkedRow:
    return makers.parked_row(0)._replace(order_key=TAG)


def test_a_new_engine_probes_an_endpoint_that_was_left_with_failed_heads_only() -> None:
    hub = Rig(KEYED)

    hub.assign(FAILING, next_offset=5)
    hub.post(inbox.ParkedClaimed([head()]))
    [probe] = hub.take()

    assert hub.dispatcher.down == {KEYED.endpoint.id}
    assert (hub.lane().state, hub.lane().reason) == (LaneState.BEHIND, "endpoint_down")
    assert (probe.delivery.offset, probe.is_probe) == (0, True)


def test_what_failed_before_a_new_engine_came_is_due_once_its_probe_gets_through() -> None:
    hub = Rig(KEYED)
    hub.assign(FAILING, next_offset=5)
    hub.post(inbox.ParkedClaimed([head()]))

    hub.land(*hub.take())

    [hastened] = hub.batch().hastened
    assert hastened.since_us == FAILING.failing_us
    assert hub.dispatcher.down == frozenset()


def test_a_probe_that_fails_costs_no_attempt() -> None:
    hub = Rig(KEYED)
    hub.assign(FAILING, next_offset=5)
    hub.post(inbox.ParkedClaimed([head()]))

    hub.land(*hub.take(), answer=makers.answer(503))

    [later] = hub.batch().rescheduled
    assert (later.attempts, later.sends) == (1, 2)


def test_a_lane_that_owes_for_its_endpoints_sake_begins_with_a_probe() -> None:
    hub = Rig(makers.subscription())

    hub.assign(Found(replace_reason("endpoint_down")), next_offset=9)
    hub.answer_ask(0, 1, 2, 3, next_offset=4)
    [first] = hub.take()
    hub.land(first)

    assert first.is_probe
    assert offsets(hub.take()) == [1]


def test_a_lane_that_fell_behind_for_another_reason_needs_no_probe() -> None:
    hub = Rig(makers.subscription())

    hub.assign(Found(replace_reason("overflow")), next_offset=9)

    assert hub.dispatcher.down == frozenset()


def test_an_endpoint_that_this_engine_knows_is_judged_by_what_it_answered_here() -> None:
    hub = Rig(KEYED)
    hub.assign(number=1)
    hub.feed(0, number=1)
    hub.land(*hub.take())

    hub.assign(FAILING, next_offset=5)

    assert hub.dispatcher.down == frozenset()


def test_a_paused_subscription_is_not_probed() -> None:
    hub = Rig(replace(KEYED, sending=False))

    hub.assign(FAILING, next_offset=5)

    assert hub.dispatcher.down == frozenset()


def test_an_endpoint_with_nothing_left_but_failed_heads_is_down_after_some_silence() -> None:
    hub = Rig(KEYED)
    hub.assign()
    hub.feed(0)
    hub.land(*hub.take(), answer=makers.answer(503))
    hub.tick(SILENCE_S / 2)
    before = hub.dispatcher.down

    hub.tick(SILENCE_S / 2 + suspicion.EVERY_S)

    assert before == frozenset()
    assert hub.dispatcher.down == {KEYED.endpoint.id}


def test_one_refused_record_is_no_outage() -> None:
    hub = Rig(KEYED)
    hub.assign()
    hub.feed(0)
    hub.land(*hub.take(), answer=makers.answer(400))

    hub.tick(SILENCE_S + suspicion.EVERY_S)

    assert hub.dispatcher.down == frozenset()


def test_without_an_order_new_records_tell_how_an_endpoint_is() -> None:
    hub = Rig(makers.subscription())
    hub.assign()
    hub.feed(0)
    hub.land(*hub.take(), answer=makers.answer(503))

    hub.tick(SILENCE_S + suspicion.EVERY_S)

    assert hub.dispatcher.down == frozenset()


def test_what_waits_behind_heads_is_not_read_while_a_probe_is_not_due() -> None:
    hub = Rig(KEYED)
    hub.assign(FAILING, next_offset=5)
    hub.asks.clear()
    hub.post(inbox.ParkedClaimed([head()]))

    hub.land(*hub.take(), answer=makers.answer(503))
    hub.tick()

    assert hub.asks == []


def replace_reason(reason: str) -> LaneRow:
    return row(state="behind")._replace(reason=reason)
