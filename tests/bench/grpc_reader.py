"""A gRPC client that streams a topic with credits; it is started, killed, and started again.

Arguments: target, key, topic, group or ``-``, how many records to see, and what an earlier life
knew. After each message it prints one line of JSON: what it knows now, which is all that survives
it. With a group it acknowledges what it saw.
"""

import json
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field

import grpc

from gateway.proto.kafkahub.v1 import kafkahub_pb2 as pb

CREDIT = 20_000


@dataclass
class Known:
    """What a life of the client leaves to the next.

    next    offset that comes next, by partition
    copies  records that had come before
    holes   records that were passed over
    """

    cursor: str = ""
    seen: int = 0
    copies: int = 0
    holes: int = 0
    messages: int = 0
    next: dict[str, int] = field(default_factory=dict)

    def note(self, events: pb.Events) -> None:
        self.messages += 1
        self.cursor = events.cursor
        for one in events.records:
            number = str(one.partition)
            due = self.next.get(number, 0)
            if one.offset < due:
                self.copies += 1
                continue
            self.holes += one.offset - due
            self.seen += 1
            self.next[number] = one.offset + 1


class Says:
    """What the client says: its start, then credits and acknowledgements."""

    def __init__(self, topic: str, group: str, known: Known) -> None:
        self._topic, self._group, self._known = topic, group, known
        self._more = threading.Condition()
        self._spent = 0
        self._acks: list[bytes] = []

    def took(self, events: pb.Events) -> None:
        with self._more:
            self._spent += len(events.records)
            if self._group:
                last = {one.partition: one.ack_id for one in events.records}
                self._acks += last.values()
            self._more.notify()

    def __iter__(self) -> Iterator[pb.SubscribeRequest]:
        known = self._known
        position = pb.Position(edge=pb.EDGE_EARLIEST)
        if known.cursor and not self._group:
            position = pb.Position(cursor=known.cursor)
        start = pb.Start(topics=[self._topic], group=self._group, credit=pb.Credit(records=CREDIT))
        getattr(start, "from").CopyFrom(position)
        yield pb.SubscribeRequest(start=start)
        while True:
            with self._more:
                self._more.wait_for(lambda: self._acks or self._spent >= CREDIT // 4)
                acks, self._acks = self._acks, []
                spent, self._spent = self._spent, 0
            if acks:
                yield pb.SubscribeRequest(acks=pb.AckSet(ack=acks))
            if spent:
                yield pb.SubscribeRequest(credit=pb.Credit(records=spent))


def main() -> None:
    """Read until so many records were seen."""
    target, key, topic, group, stop, before = sys.argv[1:]
    known = Known(**json.loads(before))
    says = Says(topic, group.removeprefix("-"), known)
    subscribe = grpc.insecure_channel(target).stream_stream(
        "/kafkahub.v1.KafkaHub/Subscribe",
        pb.SubscribeRequest.SerializeToString,
        pb.SubscribeResponse.FromString,
    )
    for answer in subscribe(iter(says), metadata=(("authorization", f"Bearer {key}"),)):
        if answer.WhichOneof("kind") != "events":
            continue
        known.note(answer.events)
        says.took(answer.events)
        sys.stdout.write(json.dumps(asdict(known)) + "\n")
        sys.stdout.flush()
        if known.seen >= int(stop):
            return


if __name__ == "__main__":
    main()
