"""Metrics: their names, and the sum over prefork children."""

import subprocess
import sys
from pathlib import Path

import pytest

from kafkahub.observability import metrics

PREFORK = """
import os
from kafkahub.observability import metrics

sent = metrics.counter("trial_sent_total", "Things sent.", ["outcome"])
busy = metrics.gauge("trial_busy", "Things under way.")
plain = metrics.counter("trial_plain_total", "Things without a label.")
sent.labels("ok").inc()
for number in (1, 2):
    child = os.fork()
    if child == 0:
        sent.labels("ok").inc(10)
        plain.inc(number)
        busy.set(5)
        os._exit(0)
    os.waitpid(child, 0)
busy.set(7)
print(metrics.text().decode())
print("folder", os.environ[metrics.FOLDER_VARIABLE])
"""


def prefork_output(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("KAFKAHUB_METRICS_PORT", "9000")
    command = [sys.executable, "-c", PREFORK]
    return subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=60
    ).stdout.splitlines()


def test_counters_of_children_are_summed_even_after_their_death(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines = prefork_output(monkeypatch)

    assert 'kafkahub_trial_sent_total{outcome="ok"} 21.0' in lines
    assert "kafkahub_trial_plain_total 3.0" in lines


def test_a_gauge_of_a_dead_child_goes_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = prefork_output(monkeypatch)

    assert "kafkahub_trial_busy 7.0" in lines


def test_the_shared_folder_goes_with_its_process(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = prefork_output(monkeypatch)[-1].removeprefix("folder ")

    assert not Path(folder).exists()


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("kafkahub_trial_total", "without the prefix"),
        ("Trial_total", "lower-case"),
        ("trial__total", "lower-case"),
        ("trial", "ends in _total"),
    ],
)
def test_a_counter_with_a_wrong_name_is_refused(name: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        metrics.counter(name, "A sentence.")


def test_a_gauge_is_not_named_like_a_counter() -> None:
    with pytest.raises(ValueError, match="ends in _total"):
        metrics.gauge("trial_total", "A sentence.")


def test_a_histogram_is_named_by_its_unit() -> None:
    with pytest.raises(ValueError, match="ends in its unit"):
        metrics.histogram("trial_duration", "A sentence.")


def test_a_metric_without_a_sentence_is_refused() -> None:
    with pytest.raises(ValueError, match="sentence"):
        metrics.gauge("trial", "no sentence")


def test_a_declared_metric_is_listed_with_its_prefix_and_served() -> None:
    metrics.gauge("trial_listed", "A sentence.", ["state"]).labels("on").set(2)

    found = [one for one in metrics.declared() if one.name == "kafkahub_trial_listed"]
    assert found == [metrics.Declared("kafkahub_trial_listed", "gauge", "A sentence.", ("state",))]
    assert b'kafkahub_trial_listed{state="on"} 2.0' in metrics.text()
