"""Forms of lanes and parked rows, made from the snapshot in force."""

from dataclasses import dataclass

from delivery import request
from delivery.ledger import ParkedRow
from delivery.request import LaneForm
from subscriptions import identity
from subscriptions.live import NOTICES, NOTICES_TOPIC, LiveSubscription, LiveTopic, Snapshot


@dataclass(frozen=True, slots=True)
class Naming:
    """What webhook ids and CloudEvents sources are made from.

    id_key    32 bytes that never change
    cluster   id of the Kafka cluster
    base_url  our public address, without a slash at the end
    """

    id_key: bytes
    cluster: str
    base_url: str

    def lane(
        self,
        snapshot: Snapshot,
        subscription: str,
        *,
        topic: str,
        partition: int,
        generation: int,
    ) -> LaneForm | None:
        """Return the form of one lane; None when the snapshot does not know it any more."""
        live = snapshot.subscriptions.get(subscription)
        settings = NOTICES_TOPIC if topic == NOTICES else snapshot.topics.get(topic)
        if live is None or settings is None:
            return None
        return self.of(live, settings, partition=partition, generation=generation)

    def of(
        self, live: LiveSubscription, settings: LiveTopic, *, partition: int, generation: int
    ) -> LaneForm:
        """Return the form of one lane of a subscription, or of a replay as it sends."""
        topic = settings.name
        return request.form(
            live,
            settings,
            partition=partition,
            generation=generation,
            deliveries=identity.deliveries(
                self.id_key,
                self.cluster,
                topic=topic,
                generation=generation,
                partition=partition,
                subscription=live.id,
            ),
            records=identity.records(
                self.id_key, self.cluster, topic=topic, partition=partition, partner=live.partner
            ),
            base_url=self.base_url,
        )

    def gap_id(
        self, subscription: str, *, topic: str, partition: int, generation: int, from_offset: int
    ) -> str:
        """Return the webhook-id of what tells a subscription of a gap of one lane."""
        made = identity.gaps(
            self.id_key,
            self.cluster,
            topic=topic,
            generation=generation,
            partition=partition,
            subscription=subscription,
        )
        return made.of(from_offset)

    def parked(self, snapshot: Snapshot, row: ParkedRow) -> LaneForm | None:
        """Return the form of a parked row; its body is made already, so any topic will do."""
        replay = snapshot.replays.get(row.replay) if row.replay else None
        settings = snapshot.topics.get(row.topic)
        if replay is not None and settings is not None:  # it may go to another endpoint
            return self.of(
                replay.live, settings, partition=row.partition, generation=row.generation
            )
        return self.lane(
            snapshot,
            row.subscription,
            topic=row.topic,
            partition=row.partition,
            generation=row.generation,
        )


def is_same_right(before: LaneForm, now: LaneForm) -> bool:
    """Return whether a record that was projected then may leave as it is now."""
    topic = now.topic.name
    one, other = before.subscription.grants.get(topic), now.subscription.grants.get(topic)
    if one is None or other is None:
        return one is other
    return (one.version, one.projection) == (other.version, other.projection)


def is_outdated(row: ParkedRow, form: LaneForm) -> bool:
    """Return whether a parked body was projected under another version of the grant."""
    grant = form.subscription.grants.get(row.topic)
    is_record = row.partition >= 0  # a test is no record, and what its partner gave
    return is_record and (grant is None or grant.version != row.grant_version)
