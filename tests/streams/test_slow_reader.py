"""A client that takes nothing holds up nobody, costs a megabyte at most, and loses nothing."""

import json
import time
from http.client import HTTPException  # noqa: TID251 - a test asks a server of ours

import pytest

from tests.streams.reading import Reading, numbers, reading
from tests.streams.web import Stage, wait_for

pytestmark = [pytest.mark.kafka, pytest.mark.django_db(transaction=True)]

MIB = 1024 * 1024
SMALL = 16_384
"""A socket's buffer that is full at once."""


def fill(stage: Stage, count: int, size: int = 10_000) -> None:
    """Write records of some bytes, numbered on."""
    for number in range(stage.written, stage.written + count):
        value = b'{"n":%d,"p":"%b"}' % (number, b"x" * size)
        stage.producer.produce(stage.topic, value, b"key")
    stage.producer.flush(30)
    stage.written += count


def number(stage: Stage, series: str) -> float:
    """Return what the process tells of itself."""
    _, body = stage.web.get("/metrics")
    lines = (line.rsplit(" ", 1) for line in body.decode().splitlines())
    return sum(float(value) for name, value in lines if name.startswith(f"kafkahub_{series}"))


def closed(stage: Stage, stream: str) -> list[dict[str, object]]:
    """Return what the log says of the end of a stream."""
    log = stage.web.log.read_text().splitlines()
    found = (line for line in log if f'"stream":"{stream}"' in line)
    return [json.loads(line) for line in found if "stream.closed" in line]


def slow(stage: Stage) -> Reading:
    key = {"authorization": f"Bearer {stage.alice.key}"}
    return Reading(stage.web, f"/streams/{stage.topic}", key, receive_bytes=SMALL)


def test_who_takes_nothing_is_cut_after_the_deadline_and_others_read_on(stage: Stage) -> None:
    with slow(stage) as stuck, reading(stage) as quick:
        first = stuck.frame()
        assert first is not None
        fill(stage, 300)
        begun_s = time.monotonic()

        assert numbers(quick.records(300)) == list(range(300))
        stream = first.json["stream"]
        wait_for(lambda: closed(stage, stream), stage.web.log.read_text)

        assert time.monotonic() - begun_s < 30
        left = 0
        try:
            while piece := stuck.answer.read1(65_536):
                left += len(piece)
        except (OSError, HTTPException):
            pass  # cut in the middle of what was on its way
        assert left < MIB
    assert closed(stage, stream)[0]["reason"] == "slow_reader"


def test_who_pauses_and_reads_on_loses_nothing(stage: Stage) -> None:
    with slow(stage) as paused:
        first = paused.frame()
        assert first is not None
        fill(stage, 200)
        wait_for(lambda: number(stage, "stream_paused") == 1, lambda: "never paused")

        assert numbers(paused.records(200)) == list(range(200))
        stage.write(5)
        assert numbers(paused.records(5)) == list(range(200, 205))


def test_a_large_record_arrives_whole(stage: Stage) -> None:
    with slow(stage) as opened:
        opened.frame()
        fill(stage, 2, 900_000)
        stage.write(1)

        records = opened.records(3)

    assert numbers(records) == [0, 1, 2]
    assert [len(one["value"].get("p", "")) for one in records] == [900_000, 900_000, 0]
