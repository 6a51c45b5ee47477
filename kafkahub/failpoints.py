"""Named places where a test may make the process die.

``KAFKAHUB_FAILPOINTS="send.after_2xx=kill@3;checkpoint.before_commit=raise"`` is honoured only
with ``KAFKAHUB_TEST_HOOKS`` on; otherwise ``failpoint`` is an empty function, so that production
pays one call and nothing can be triggered.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

NAMES: Final = frozenset(
    {
        "consume.after_poll",
        "consume.after_claim",
        "lane.before_send",
        "send.after_2xx",
        "send.after_failure",
        "lane.behind.before_row",
        "lane.behind.after_row",
        "park.before_commit",
        "park.claimed",
        "checkpoint.before_commit",
        "checkpoint.after_commit",
        "backlog.mid_batch",
        "handover.before_live",
        "replay.mid",
        "drain.begun",
        "produce.after_send",
        "produce.after_ack",
        "idempotency.after_claim",
        "pull.before_hand_out",
        "pull.after_hand_out",
        "stream.mid_write",
        "hub.before_append",
        "audit.before_insert",
        "rotate.mid_batch",
        "job.mid_slice",
    }
)
POLL_S = 0.02
"""How often ``hold`` looks whether its file is gone, in seconds."""


class FailpointError(Exception):
    """Raised by the action ``raise``."""


@dataclass(slots=True)
class Trap:
    """What happens at one failpoint: ``action`` with ``argument``, from the ``nth`` hit, once."""

    action: str
    argument: str = ""
    nth: int = 1
    hits: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


def parse(text: str) -> dict[str, Trap]:
    """Return the traps by name.

    Raises ValueError for an unknown name or action: a typo must not look like a pass.
    """
    traps = {}
    for part in filter(None, (piece.strip() for piece in text.split(";"))):
        name, _, rest = part.partition("=")
        rest, _, nth = rest.partition("@")
        action, _, argument = rest.partition(":")
        if name not in NAMES:
            raise ValueError(f"unknown failpoint {name!r}")
        if action not in ACTIONS:
            raise ValueError(f"unknown failpoint action {action!r}")
        traps[name] = Trap(action, argument, int(nth or 1))
    return traps


def _kill(_: str) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _stop(_: str) -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def _exit(argument: str) -> None:
    os._exit(int(argument or 1))


def _sleep(argument: str) -> None:
    time.sleep(int(argument) / 1000)


def _raise(argument: str) -> None:
    raise FailpointError(argument)


def _hold(argument: str) -> None:
    while Path(argument).exists():
        time.sleep(POLL_S)


ACTIONS: Mapping[str, Callable[[str], None]] = {
    "kill": _kill,
    "stop": _stop,
    "exit": _exit,
    "sleep": _sleep,
    "raise": _raise,
    "hold": _hold,
}


def _nothing(name: str, /) -> None:
    """Stand for every failpoint in production."""


def armed(traps: Mapping[str, Trap]) -> Callable[[str], None]:
    """Return a ``failpoint`` function that springs these traps, each once."""

    def spring(name: str, /) -> None:
        trap = traps.get(name)
        if trap is None:
            return
        with trap.lock:
            trap.hits += 1
            due = trap.hits == trap.nth
        if due:
            ACTIONS[trap.action](trap.argument)

    return spring


def from_environment(environment: Mapping[str, str]) -> Callable[[str], None]:
    """Return the ``failpoint`` function that this process shall use."""
    text = environment.get("KAFKAHUB_FAILPOINTS", "")
    if environment.get("KAFKAHUB_TEST_HOOKS", "").lower() not in {"1", "true"}:
        return _nothing
    return armed(parse(text))


failpoint = from_environment(os.environ)
