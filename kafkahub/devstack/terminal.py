"""What the devstack prints, and how: progress to stderr, results to stdout."""

import os
import sys
from pathlib import Path

BOLD, DIM, RED = "1", "2", "31"


def say(text: str) -> None:
    """Show one line of progress."""
    print(text, file=sys.stderr, flush=True)


def paint(text: str, colour: str) -> str:
    """Return the text in a colour where a terminal shows it and nobody forbids it."""
    if "NO_COLOR" in os.environ or not sys.stdout.isatty():
        return text
    return f"\x1b[{colour}m{text}\x1b[0m"


def last_lines(path: Path, count: int = 20) -> str:
    """Return the end of a log, indented; a sentence where there is none."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return "  (it wrote nothing)"
    return "\n".join(f"  {line}" for line in lines[-count:]) or "  (it wrote nothing)"
