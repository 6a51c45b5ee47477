"""SIGTERM and SIGINT: streams end in good order before the server stops.

Uvicorn would wait for open streams without an end. So its own handlers are kept, ours stand in
their place from start-up on, and the kept one is called once the streams have gone.
"""

import asyncio
import signal
import threading
from collections.abc import Awaitable, Callable
from types import FrameType

import structlog

Handler = Callable[[int, FrameType | None], object]
Drain = Callable[[float], Awaitable[None]]

INTERRUPT_S = 1.0
"""The window after SIGINT: somebody sits before it."""
SIGNALS = (signal.SIGTERM, signal.SIGINT)

log = structlog.get_logger()


class Signals:
    """Puts the drain before the server's own handlers.

    Runs   on the event loop; a second signal does not wait for the first
    Ends   ``restore``

    window_s  longest time over which streams are spread after SIGTERM
    """

    def __init__(self, drain: Drain, window_s: float) -> None:
        self._drain = drain
        self._window_s = window_s
        self._kept: dict[int, Handler] = {}
        self._work: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def install(self) -> None:
        """Stand before the handlers that are there; only the main thread can have some."""
        if threading.current_thread() is not threading.main_thread():
            return
        self._loop = asyncio.get_running_loop()
        for number in SIGNALS:
            kept = signal.getsignal(number)
            if callable(kept):
                self._kept[number] = kept
                signal.signal(number, self._note)

    def restore(self) -> None:
        """Give the handlers back."""
        for number, kept in self._kept.items():
            if signal.getsignal(number) == self._note:
                signal.signal(number, kept)
        self._kept.clear()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._begin, number, frame)

    def _begin(self, number: int, frame: FrameType | None) -> None:
        if self._work is not None:
            self._hand_on(number, frame)
            return
        window_s = self._window_s if number == signal.SIGTERM else INTERRUPT_S
        self._work = asyncio.create_task(self._run(window_s, number, frame), name="drain")

    async def _run(self, window_s: float, number: int, frame: FrameType | None) -> None:
        try:
            log.info("gateway.draining", signal=number, window_s=window_s)
            await self._drain(window_s)
        finally:
            self._hand_on(number, frame)

    def _hand_on(self, number: int, frame: FrameType | None) -> None:
        kept = self._kept.get(number)
        if kept is not None:
            kept(number, frame)
