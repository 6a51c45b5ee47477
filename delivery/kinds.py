"""Which kind of lane a subscription asks for (pure)."""

from collections.abc import Collection

from delivery.batching import BatchLane, KeyBatchLane
from delivery.lanes import Lane, Partition
from delivery.ordering import LANE_KEY, KeyLane
from delivery.request import LaneForm
from delivery.serial import SerialLane
from subscriptions.live import LiveSubscription


def kind_of(subscription: LiveSubscription) -> tuple[str, bool]:
    """Return what a lane's kind depends on; with another one it needs a new lane."""
    return subscription.ordering, subscription.batch is not None


def make(
    partition: Partition,
    form: LaneForm,
    ahead: set[int],
    waiting: Collection[bytes],
    *,
    secret: bytes,
) -> Lane:
    """Return a lane of the kind that its subscription asks for.

    waiting  order keys with parked rows
    secret   what order keys are made with
    """
    held = {LANE_KEY}.intersection(waiting)
    match kind_of(form.subscription):
        case "key", False:
            return KeyLane(partition, form, ahead, waiting, secret=secret)
        case "key", True:
            return KeyBatchLane(partition, form, ahead, waiting, secret=secret)
        case "partition", False:
            return SerialLane(partition, form, ahead, held)
        case _, True:
            return BatchLane(partition, form, ahead, held)
        case _:
            return Lane(partition, form, ahead)
