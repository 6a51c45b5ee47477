"""What a run left behind: logs, rows and the topics themselves, as one ``History``."""

import json
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from confluent_kafka import Consumer, TopicPartition

from tests.torture.history import Arrival, Gap, History, Parked, Place, Produced
from tests.torture.run import Run
from tests.torture.tenants import PARTITIONS, Made

READ_S = 60.0
KEPT_DAYS = 30
"""How long a dead letter is kept by default: its end tells when it died."""
NS = 1e9

OWED = """
SELECT (SELECT count(*) FROM lane_position WHERE state = 'behind'),
       (SELECT count(*) FROM parked_delivery
         WHERE state IN ('scheduled', 'sending') AND next_attempt_at <= now())
"""
PARKED = """
SELECT subscription_id, topic, partition, "offset", state,
       extract(epoch FROM expires_at - make_interval(days => %s) - clock_timestamp())::float8
  FROM parked_delivery
"""


def is_settled(run: Run, ends: dict[tuple[str, int], int]) -> bool:
    """Whether every floor is at its end, no lane is behind and no parked row is due."""
    floors = {place: floor for place, (floor, _) in run.floors().items()}
    if any(floors.get(place, 0) < end for place, end in ends.items()):
        return False
    with closing(run.connect()) as conn:
        [(behind, due)] = conn.execute(OWED).fetchall()
    return not behind and not due


def ends(run: Run) -> dict[tuple[str, int], int]:
    """Return where each partition ends."""
    options = {"bootstrap.servers": run.parts.direct["kafka"], "group.id": "torture-look"}
    consumer = Consumer(options)
    try:
        return {
            (one.tenant.topic, partition): consumer.get_watermark_offsets(
                TopicPartition(one.tenant.topic, partition), timeout=30
            )[1]
            for one in run.made
            for partition in range(PARTITIONS)
        }
    finally:
        consumer.close()


def history(run: Run, *, settled: bool) -> History:
    """Return everything that the checker judges."""
    names = {
        subscription: (one.tenant.name, name)
        for one in run.made
        for name, subscription in one.subscriptions.items()
    }
    records = list(_records(run))
    lanes = [lane for one in run.made for lane in one.lanes()]
    return History(
        lanes=lanes,
        records=records,
        acked=frozenset(_acked(run.folder / "acked.log")),
        unknown=len((run.folder / "unknown.log").read_text(encoding="utf-8").splitlines()),
        arrivals={one.tenant.name: _arrivals(run, one) for one in run.made},
        parked=_parked(run, {key: name for key, (_, name) in names.items()}),
        gaps=_gaps(),
        faults=run.faults,
        is_settled=settled,
        leaked_canaries=_leaks(run),
    )


def _records(run: Run) -> Iterator[Produced]:
    """Read every topic from its beginning to its end, committed records only."""
    wanted = ends(run)
    options = {
        "bootstrap.servers": run.parts.direct["kafka"],
        "group.id": "torture-harvest",
        "enable.auto.commit": False,
        "isolation.level": "read_committed",
    }
    consumer = Consumer(options)
    consumer.assign([TopicPartition(topic, part, 0) for topic, part in wanted])
    until = time.monotonic() + READ_S
    try:
        open_ = {place for place, end in wanted.items() if end}
        while open_ and time.monotonic() < until:
            for record in consumer.consume(1_000, 0.5):
                place = (str(record.topic()), int(record.partition() or 0))
                offset = int(record.offset() or 0)
                value = json.loads(record.value() or b"{}")
                yield Produced(
                    (*place, offset), value["tenant"], value["key"], value["seq"], value["half"]
                )
                if offset + 1 >= wanted[place]:
                    open_.discard(place)
    finally:
        consumer.close()
    if open_:
        raise TimeoutError(f"the topics were not read to their ends: {sorted(open_)}")


def _acked(path: Path) -> Iterator[Place]:
    for line in path.read_text(encoding="utf-8").splitlines():
        topic, _tenant, _key, _seq, partition, offset = line.split("\t")
        yield topic, int(partition), int(offset)


def _arrivals(run: Run, made: Made) -> list[Arrival]:
    path = run.folder / f"{made.tenant.name}.log"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [_arrival(line) for line in lines]


def _arrival(line: str) -> Arrival:
    at, name, webhook_id, seq, body, attempt, status, *flags = line.split("\t")
    is_lost, is_signed, foreign = (flag == "1" for flag in flags)
    return Arrival(
        int(at) / NS,
        name,
        webhook_id,
        int(seq),
        body,
        int(attempt),
        int(status),
        is_lost=is_lost,
        is_signed=is_signed,
        foreign=foreign,
    )


def _parked(run: Run, names: dict[str, str]) -> list[Parked]:
    with closing(run.connect()) as conn:
        now = time.monotonic()
        rows = conn.execute(PARKED, [KEPT_DAYS]).fetchall()
    return [
        Parked(
            names[str(one)],
            (str(topic), int(str(part)), int(str(offset))),
            str(state),
            None if ago is None else now + float(str(ago)),
        )
        for one, topic, part, offset, state, ago in rows
    ]


def _gaps() -> list[Gap]:
    """Return the announced gaps; no fault of these profiles makes one."""
    return []


def _leaks(run: Run) -> int:
    """Count the lines of the product's logs that hold a canary: payloads are never logged."""
    marks = [one.tenant.canary for one in run.made]
    logs = [path for path in run.folder.glob("*.log") if "-" in path.name]
    return sum(
        any(mark in line for mark in marks)
        for path in logs
        if path.name.startswith(("deliver-", "control-", "web-"))
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines()
    )


def fenced_writes(run: Run) -> int:
    """Count the writes of engines that had lost their partition."""
    return sum(
        path.read_text(encoding="utf-8", errors="replace").count("partition.fenced")
        for path in run.folder.glob("deliver-*.log")
    )
