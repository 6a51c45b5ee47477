"""What is read from the syntax tree, and what is not mistaken for it."""

import ast

import pytest

from kafkahub.reference import source
from kafkahub.reference.source import Metric, Module


def module(text: str, path: str = "delivery/thing.py") -> list[Module]:
    return [Module(path, ast.parse(text))]


@pytest.mark.parametrize(
    "text",
    [
        'log.info("thing.happened", count=1)',
        '_log.warning("thing.happened")',
        'self.log.exception("thing.happened")',
        'structlog.get_logger().error("thing.happened")',
        'line = {"level": "info", "event": "thing.happened"}',
    ],
)
def test_a_log_event_is_found_with_its_place(text: str) -> None:
    assert source.log_events(module(text)) == {"thing.happened": ["delivery/thing.py"]}


@pytest.mark.parametrize(
    "text", ['audit.append("thing.happened")', "log.info(name)", 'log.info("A sentence.")']
)
def test_what_is_no_log_event_is_left_out(text: str) -> None:
    assert source.log_events(module(text)) == {}


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ('x = metrics.counter("sent_total", "Sent.", ["outcome"])', ("outcome",)),
        ('x = counter("sent_total", "Sent.", labels=("outcome",))', ("outcome",)),
        ('x = metrics.counter("sent_total", "Sent " "")', ()),
    ],
)
def test_a_metric_is_found_with_its_labels(text: str, labels: tuple[str, ...]) -> None:
    (found,) = source.metrics(module(text), "kafkahub_")

    assert found.name == "kafkahub_sent_total"
    assert found.kind == "counter"
    assert found.labels == labels


def test_metrics_come_by_name() -> None:
    text = 'a = metrics.gauge("b", "B.")\nb = metrics.histogram("a_seconds", "A.")'

    assert source.metrics(module(text), "") == [
        Metric("a_seconds", "histogram", "A.", ()),
        Metric("b", "gauge", "B.", ()),
    ]


@pytest.mark.parametrize(
    "text",
    [
        'raise Invalid([Fault("/name", "too_long", "text")])',
        'faults.add("too_long", f"{x}")',
        'self._faults.unknown(pointer, "too_long", name)',
        'BadValue("too_long", "A text.")',
        'def _fault(x):\n    return "too_long", "text"',
        'CODES: dict = {"max": "too_long"}',
    ],
)
def test_a_code_of_a_fault_is_found(text: str) -> None:
    assert source.fault_codes(module(text)) == {"too_long"}


def test_other_strings_are_no_codes() -> None:
    assert source.fault_codes(module('default.append("too_long")\nx("too_long")')) == set()


def test_outcomes_are_looked_for_where_records_are_sent_only() -> None:
    text = 'x = {1: "tls_expired", 2: "timeout_body", 3: "tls"}'

    assert source.outcomes(module(text)) == {"tls_expired", "timeout_body"}
    assert source.outcomes(module(text, "subscriptions/thing.py")) == set()
