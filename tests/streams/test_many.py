"""Many listeners of one process; ``make bench-streams`` does the same with 5,000."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bench.listeners import Listeners, build
from tests.streams.web import Stage

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler"),
]

STREAMS = 250
WITHIN_A_SECOND = STREAMS


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the compiled client."""
    return build(tmp_path_factory.mktemp("client"))


@pytest.fixture
def listeners(stage: Stage, client: Path) -> Iterator[Listeners]:
    """Yield 500 listeners, all of them live."""
    key = f"Authorization: Bearer {stage.alice.key}"
    with Listeners(client, stage.web.port, f"/streams/{stage.topic}", key) as made:
        made.open(STREAMS, WITHIN_A_SECOND)
        assert made.wait_live(STREAMS)["live"] == STREAMS
        made.reset()
        yield made


def test_every_listener_gets_every_record_once(stage: Stage, listeners: Listeners) -> None:
    stage.write(400)

    report = listeners.wait_records(400)

    assert report["least"] == report["most"] == 400
    assert report["holes"] == report["repeats"] == report["gaps"] == report["errors"] == 0


def test_all_who_are_cut_at_once_come_back_complete_and_are_not_refused(
    stage: Stage, listeners: Listeners
) -> None:
    stage.write(200)
    listeners.cut()
    stage.write(200)  # nobody is there
    listeners.come_back(WITHIN_A_SECOND)
    stage.write(200)

    report = listeners.wait_records(600)

    assert report["least"] == report["most"] == 600
    assert report["holes"] == report["gaps"] == report["errors"] == 0
    assert report["refused"] == report["soft"] == report["ended"] == 0


def test_listeners_that_read_nothing_keep_nothing_from_the_others(
    stage: Stage, listeners: Listeners
) -> None:
    listeners.stall(STREAMS // 10)
    stage.write(400)

    report = listeners.wait_records(400)

    assert report["least"] == report["most"] == 400
    assert report["ended"] == 0
