"""Log lines: one JSON object each, written by a thread so that a full pipe stops nobody.

Every module logs with ``structlog.get_logger()`` and ``log.info("noun.past_verb", field=…)``.
Payloads, credentials and query strings do not belong into fields; the scrubber here is the second
line of defence, not the first.
"""

import atexit
import functools
import logging
import os
import queue
import re
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, MutableMapping
from typing import BinaryIO, Final

import msgspec
import structlog
from structlog.contextvars import (
    bind_contextvars,
    get_contextvars,
    merge_contextvars,
    unbind_contextvars,
)
from structlog.typing import EventDict, Processor

from kafkahub import clock, ids
from kafkahub.observability import metrics

QUEUE_LINES = 10_000
"""Lines that wait for the stream at most, about 4 MB; beyond, they are dropped and counted."""

BATCH_LINES = 500
"""Lines joined into one write at most."""

MAX_TEXT = 4_096
"""Characters of one field: an answer quoted in an error must not fill the disk."""

MAX_STACK = 16_384
"""Characters of a stack."""

REPEAT_KINDS = 1_000
"""Different errors that are counted; beyond, all counts start again."""

REPEAT_FORGET_S = 600
"""Quiet time after which an error is new again, so that tomorrow's first one is seen."""

log_drops = metrics.counter("log_drops_total", "Log lines dropped because the stream was full.")

_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_SECRET_FIELD = re.compile(r"password|passwd|authorization|cookie|secret(?!_ids?$)|token$|api_key$")
_MARKS: Final = (
    *(b"whsec_", b"whsk_", b"khk_", b"kht_", b"kho_", b"eyJ", b"://", b"earer ", b"asic "),
    *(b"ticket=", b"access_token=", b"last_event_id="),
)
"""One of these is in every line that ``_SECRETS`` could change; looking for them costs 0.3 µs."""

_SECRETS: Final = (
    (re.compile(rb"\b(whsec_|whsk_)[A-Za-z0-9+/=_-]+"), rb"\1***"),
    (re.compile(rb"\b(khk_(?:live|test)_[A-Za-z0-9]{1,4})[A-Za-z0-9_]*"), rb"\1***"),
    (re.compile(rb"\b(kht_|kho_)[A-Za-z0-9_-]+"), rb"\1***"),
    (re.compile(rb"\b(eyJ)[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+"), rb"\1***"),
    # Uvicorn logs the path of a WebSocket with its query, also without its access log.
    (re.compile(rb"\b((?:ticket|access_token|last_event_id)=)[^&\s\"\\]+"), rb"\1***"),
    (re.compile(rb"\b([Bb]earer|[Bb]asic) +[A-Za-z0-9._~+/=-]{8,}"), rb"\1 ***"),
    (re.compile(rb"(://)[^/\s@\"\\]+@"), rb"\1***@"),
    (re.compile(rb"(://[^\s?\"\\]+\?)[^\s\"\\]+"), rb"\1***"),
)
_encode = msgspec.json.Encoder(enc_hook=str).encode


class LogWriter:
    """Writes finished lines to a stream.

    Runs   one thread, started by the first line, started anew in a forked child
    Owns   the stream
    Takes  lines through ``write``, which never blocks; a line too many is dropped and counted
    Ends   ``flush`` waits for what is queued; the thread ends with the process
    """

    def __init__(self, stream: BinaryIO, limit: int = QUEUE_LINES) -> None:
        self.drops = 0
        self._stream = stream
        self._limit = limit
        self._start_lock = threading.Lock()
        self._queue: queue.SimpleQueue[bytes | threading.Event] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._told_drops = 0

    def write(self, line: bytes) -> None:
        if self._queue.qsize() >= self._limit:
            self.drops += 1
            log_drops.inc()
            return
        self._queue.put(line)
        if self._thread is None:
            self._start()

    def flush(self, deadline_s: float) -> bool:
        """Return whether everything queued so far was written within ``deadline_s``."""
        if self._thread is None:
            return True
        written = threading.Event()
        self._queue.put(written)
        return written.wait(deadline_s)

    def after_fork(self) -> None:
        """Begin again in a child: its parent's thread and queue are not here."""
        self._start_lock = threading.Lock()
        self._queue = queue.SimpleQueue()
        self._thread = None

    def _start(self) -> None:
        with self._start_lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="log", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            batch = [self._queue.get()]
            while len(batch) < BATCH_LINES and not self._queue.empty():
                batch.append(self._queue.get())
            self._write_out([item for item in batch if isinstance(item, bytes)])
            for item in batch:
                if isinstance(item, threading.Event):
                    item.set()

    def _write_out(self, lines: list[bytes]) -> None:
        lost_by_failure = len(lines)
        if self.drops != self._told_drops:
            lines.append(_encode(_drop_line(self.drops - self._told_drops)))
            self._told_drops = self.drops
        try:
            self._stream.write(b"\n".join([*lines, b""]) if lines else b"")
            self._stream.flush()
        except (OSError, ValueError):
            # The reader of the log is gone; the product goes on, the metric tells.
            self.drops += lost_by_failure
            log_drops.inc(lost_by_failure)


def _drop_line(count: int) -> dict[str, object]:
    return {
        "ts": clock.rfc3339(clock.now()),
        "level": "warning",
        "event": "log.dropped",
        "pid": os.getpid(),
        "count": count,
    }


class Repeats:
    """Says which repetitions of an error are worth a line: the 1st, 10th, 100th …"""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._seen: dict[tuple[str, str], tuple[int, float]] = {}

    def count(self, event: str, error: str) -> int | None:
        """Return how often this error came, or None when this one is not to be logged."""
        now = self._monotonic()
        if len(self._seen) >= REPEAT_KINDS:
            self._seen.clear()
        count, last = self._seen.get((event, error), (0, now))
        count = 1 if now - last > REPEAT_FORGET_S else count + 1
        self._seen[event, error] = count, now
        return count if str(count).strip("0") == "1" else None


def renderer(process: str, repeats: Repeats) -> Processor:
    """Return the last processor: fields in, one line out, without a line break."""

    def render(_: object, method: str, fields: EventDict) -> bytes:
        level = "error" if method == "exception" else method
        line: dict[str, object] = {
            "ts": clock.rfc3339(clock.now()),
            "level": level,
            "event": fields.pop("event"),
            "process": process,
            "pid": os.getpid(),
        }
        _take_exception(fields)
        if level in {"error", "critical"}:
            _count_repeat(repeats, str(line["event"]), fields)
        for name, value in fields.items():
            line[name] = _safe(name, value)
        return scrub(_to_json(line))

    return render


def scrub(line: bytes) -> bytes:
    """Return the line with whatever looks like a credential or a query string made unreadable."""
    if any(mark in line for mark in _MARKS):
        for pattern, replacement in _SECRETS:
            line = pattern.sub(replacement, line)
    return line


def _take_exception(fields: MutableMapping[str, object]) -> None:
    found = fields.pop("exc_info", None)
    if found is True:
        found = sys.exc_info()[1]
    if isinstance(found, tuple):
        found = found[1]
    if isinstance(found, BaseException):
        fields.setdefault("error", f"{type(found).__name__}: {found}")
        fields["stack"] = "".join(traceback.format_exception(found))[-MAX_STACK:]


def _count_repeat(repeats: Repeats, event: str, fields: MutableMapping[str, object]) -> None:
    count = repeats.count(event, str(fields.get("error", fields.get("msg", "")))[:100])
    if count is None:
        raise structlog.DropEvent
    if count > 1:
        fields["count"] = count


@functools.lru_cache(maxsize=1_000)
def _is_secret(name: str) -> bool:
    return _SECRET_FIELD.search(name) is not None


def _safe(name: str, value: object) -> object:
    if _is_secret(name):
        return "***"
    if isinstance(value, str) and len(value) > MAX_TEXT and name != "stack":
        return value[:MAX_TEXT] + "…"
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    return value


def _to_json(line: Mapping[str, object]) -> bytes:
    try:
        return _encode(line)
    except (TypeError, ValueError, RecursionError):
        # A lone surrogate, an endless structure: the line comes out as far as text can carry it.
        plain = {str(name): ascii(value)[:MAX_TEXT] for name, value in line.items()}
        return _encode(plain)


class _Sink:
    """What structlog calls a logger: one method a level, each given the rendered line."""

    __slots__ = ("critical", "debug", "error", "exception", "fatal", "info", "msg", "warning")

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self.debug = self.info = self.warning = self.error = write
        self.critical = self.exception = self.fatal = self.msg = write


class LibraryHandler(logging.Handler):
    """Carries the lines of libraries, which use ``logging``, into the same stream."""

    def emit(self, record: logging.LogRecord) -> None:
        level = logging.getLevelName(record.levelno).lower()
        write = getattr(structlog.get_logger(), level, structlog.get_logger().info)
        write(
            "library.logged",
            library=record.name,
            msg=record.getMessage(),
            exc_info=record.exc_info or None,
        )


_writers: list[LogWriter] = []


def configure(process: str, level: str, stream: BinaryIO | None = None) -> LogWriter:
    """Send the log lines of this process to ``stream``, by default standard output.

    process  what runs here, for the field ``process``: ``web``, ``delivery``, ``control``
    level    least level of ours; of libraries only warnings and worse are taken
    """
    writer = LogWriter(stream or sys.stdout.buffer)
    if not _writers:
        os.register_at_fork(after_in_child=_after_fork)
        atexit.register(flush)
    _writers[:] = [writer]
    sink = _Sink(writer.write)
    structlog.configure(
        processors=[merge_contextvars, renderer(process, Repeats())],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: sink,
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(handlers=[LibraryHandler()], level=logging.WARNING, force=True)
    logging.captureWarnings(capture=True)
    # Django warns of every 4xx; the access line says it already.
    logging.getLogger("django.request").setLevel(logging.ERROR)
    return writer


def flush(deadline_s: float = 1.0) -> bool:
    """Return whether the lines of this process left it in time; call it before ``os._exit``."""
    return all(writer.flush(deadline_s) for writer in _writers)


def _after_fork() -> None:
    for writer in _writers:
        writer.after_fork()


def bind_request(offered: str | None) -> str:
    """Set and return the request id of the current context.

    ``offered`` is the caller's own ``X-Request-Id``; anything but 1 to 64 of ``[A-Za-z0-9_-]`` is
    replaced by a fresh ``req_…``.
    """
    chosen = offered if offered and _REQUEST_ID.fullmatch(offered) else ids.new("req")
    bind_contextvars(request_id=chosen)
    return chosen


def unbind_request() -> None:
    """Forget the request id of the current context."""
    unbind_contextvars("request_id")


def request_id() -> str:
    """Return the request id of the current context, or ``""`` outside of a request."""
    return str(get_contextvars().get("request_id", ""))
