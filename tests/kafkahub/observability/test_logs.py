"""Log lines: their form, what never gets into them, and that they stop nobody."""

import io
import json
import logging
import os
import threading
from collections.abc import Iterator
from typing import BinaryIO

import pytest
import structlog

from kafkahub.observability import logs


class Stuck(io.BytesIO):
    """A stream that takes nothing until it is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = threading.Event()
        self.opened = threading.Event()

    def write(self, data: object) -> int:
        self.entered.set()
        assert self.opened.wait(10)
        return super().write(data)  # type: ignore[arg-type]  # the writer gives bytes


@pytest.fixture(autouse=True)
def _untouched_logging() -> Iterator[None]:
    """Give structlog and logging back as they were."""
    before = structlog.get_config()
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    structlog.configure(**before)
    logging.captureWarnings(capture=False)
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
    structlog.contextvars.clear_contextvars()


def lines_of(stream: io.BytesIO, writer: logs.LogWriter) -> list[dict[str, object]]:
    assert writer.flush(10)
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def only_line(level: str = "debug", **fields: object) -> dict[str, object]:
    stream = io.BytesIO()
    writer = logs.configure("web", level, stream)
    structlog.get_logger().info("thing.happened", **fields)
    (line,) = lines_of(stream, writer)
    return line


def test_a_line_is_one_json_object_with_the_promised_fields_first() -> None:
    line = only_line(partner="ptn_1", msg="It went well.")

    assert list(line)[:5] == ["ts", "level", "event", "process", "pid"]
    assert line["event"] == "thing.happened"
    assert line["process"] == "web"
    assert line["pid"] == os.getpid()
    assert line["partner"] == "ptn_1"
    assert str(line["ts"]).endswith("Z")


def test_the_request_id_is_on_every_line_of_its_request() -> None:
    stream = io.BytesIO()
    writer = logs.configure("web", "info", stream)
    log = structlog.get_logger()

    request_id = logs.bind_request(None)
    log.info("thing.happened")
    logs.unbind_request()
    log.info("thing.happened")

    first, second = lines_of(stream, writer)
    assert first["request_id"] == request_id
    assert request_id.startswith("req_")
    assert "request_id" not in second


@pytest.mark.parametrize("offered", ["", "a b", "x" * 65, "a\nb", None, "ü"])
def test_a_request_id_that_is_not_plain_is_replaced(offered: str | None) -> None:
    assert logs.bind_request(offered).startswith("req_")


def test_a_plain_request_id_of_the_caller_is_taken_over() -> None:
    assert logs.bind_request("their-own_7") == logs.request_id() == "their-own_7"


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("the secret whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw is", "MfKQ9r8GKY"),
        ("whsk_c2VjcmV0a2V5c2VjcmV0", "c2VjcmV0a2V5"),
        ("khk_live_a1b2c3d4e5f6_0123456789abcdef", "c3d4e5f6"),
        ("Authorization: Bearer abcdefghijkl.mnop", "abcdefghijkl"),
        ("postgresql://hub:hunter22@db:5432/hub", "hunter22"),
        ("https://partner.example/hook?token=sesame", "sesame"),
        ('"WebSocket /ws?topics=a&ticket=kht_abcdefgh&id=1" [accepted]', "abcdefgh"),
        ("a token kho_0123-abc_def of a client", "0123-abc"),
        ("a token eyJhbGciOiJS.eyJzdWIiOiJh.c2lnbmF0dXJl of an issuer", "c2lnbmF0"),
        ("a ticket kht_0123-abc_def of a page", "0123-abc"),
        ("/streams/orders?last_event_id=AfK3kD", "AfK3kD"),
        ("/streams/orders?access_token=sesame", "sesame"),
    ],
)
def test_what_looks_like_a_credential_is_made_unreadable(text: str, hidden: str) -> None:
    line = only_line(error=text)

    assert hidden not in str(line)
    assert "***" in str(line["error"])


@pytest.mark.parametrize("name", ["password", "secret", "api_key", "access_token", "authorization"])
def test_a_field_named_like_a_secret_never_shows_its_value(name: str) -> None:
    assert only_line(**{name: "sesame"})[name] == "***"


def test_the_ids_of_secrets_are_shown() -> None:
    assert only_line(secret_ids=["sec_1"])["secret_ids"] == ["sec_1"]


def test_bytes_are_told_by_their_number_only() -> None:
    assert only_line(body=b"payload")["body"] == "<7 bytes>"


def test_a_field_that_is_too_long_is_cut() -> None:
    assert len(str(only_line(error="x" * 100_000)["error"])) == logs.MAX_TEXT + 1


@pytest.mark.parametrize("odd", [object(), {1: object()}, "\ud800", 10**400, float("nan")])
def test_a_value_that_json_cannot_carry_never_breaks_the_line(odd: object) -> None:
    assert "odd" in only_line(odd=odd)


def test_an_exception_becomes_a_sentence_and_a_stack() -> None:
    stream = io.BytesIO()
    writer = logs.configure("web", "info", stream)

    try:
        int("no number")
    except ValueError:
        structlog.get_logger().exception("thing.failed")

    (line,) = lines_of(stream, writer)
    assert line["level"] == "error"
    assert line["error"] == "ValueError: invalid literal for int() with base 10: 'no number'"
    assert "Traceback" in str(line["stack"])


def test_a_repeated_error_is_logged_the_1st_10th_and_100th_time() -> None:
    stream = io.BytesIO()
    writer = logs.configure("web", "info", stream)
    log = structlog.get_logger()

    for _ in range(150):
        log.error("thing.failed", error="the same")

    assert [line.get("count") for line in lines_of(stream, writer)] == [None, 10, 100]


def test_an_error_that_comes_again_after_a_quiet_time_is_new() -> None:
    now = [0.0]
    repeats = logs.Repeats(lambda: now[0])
    assert [repeats.count("thing.failed", "x") for _ in range(3)] == [1, None, None]

    now[0] = logs.REPEAT_FORGET_S + 1.0

    assert repeats.count("thing.failed", "x") == 1


def test_lines_below_the_level_are_not_made() -> None:
    stream = io.BytesIO()
    writer = logs.configure("web", "warning", stream)

    structlog.get_logger().info("thing.happened")

    assert lines_of(stream, writer) == []


def test_warnings_of_libraries_come_in_the_same_form() -> None:
    stream = io.BytesIO()
    writer = logs.configure("web", "info", stream)

    logging.getLogger("some.library").warning("disk is %s", "full")
    logging.getLogger("some.library").info("all is well")

    (line,) = lines_of(stream, writer)
    assert line["event"] == "library.logged"
    assert line["library"] == "some.library"
    assert line["msg"] == "disk is full"


def test_a_stream_that_is_full_stops_nobody_and_what_is_dropped_is_counted() -> None:
    stream = Stuck()
    writer = logs.LogWriter(stream, limit=3)

    writer.write(b"{}")
    assert stream.entered.wait(10)
    for _ in range(5):
        writer.write(b"{}")
    stream.opened.set()

    lines = lines_of(stream, writer)
    assert writer.drops == 2
    assert [line["count"] for line in lines if line] == [2]
    assert lines.count({}) == 4


def test_a_reader_that_went_away_breaks_nothing() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    stream: BinaryIO = os.fdopen(writing, "wb", buffering=0)
    writer = logs.LogWriter(stream)

    writer.write(b"{}")

    assert writer.flush(10)
    assert writer.drops == 1
    stream.close()


def test_a_forked_child_writes_its_own_lines_and_not_its_parents() -> None:
    reading, writing = os.pipe()
    stream: BinaryIO = os.fdopen(writing, "wb", buffering=0)
    writer = logs.configure("delivery", "info", stream)
    structlog.get_logger().info("parent.spoke")
    assert writer.flush(10)

    child = os.fork()
    if child == 0:
        structlog.get_logger().info("child.spoke")
        os._exit(0 if logs.flush(10) else 1)
    _, status = os.waitpid(child, 0)
    stream.close()

    with os.fdopen(reading, "rb") as pipe:
        events = [json.loads(line)["event"] for line in pipe]
    assert status == 0
    assert events == ["parent.spoke", "child.spoke"]
