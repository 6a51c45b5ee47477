"""The devstack's command line: ``python -m kafkahub.devstack dev|run|settings``."""

import argparse
import signal
import sys
from pathlib import Path

from kafkahub.devstack import product, testrun
from kafkahub.devstack.processes import StartFailed
from kafkahub.devstack.terminal import say

INTERRUPTED = 130
"""What shells report for a command that Ctrl-C ended."""


def main() -> int:
    arguments = _parse()
    # Ctrl-C too: who was started in the background by a shell ignores it otherwise.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        return _dispatch(arguments)
    except StartFailed as error:
        say(f"\n{error}")
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED


def _dispatch(arguments: argparse.Namespace) -> int:
    match arguments.action:
        case "dev":
            return product.run(arguments.folder, is_fresh=arguments.fresh)
        case "run":
            return testrun.run(arguments.command)
        case _:
            return testrun.with_made_up_settings(arguments.command)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m kafkahub.devstack", description=__doc__)
    actions = parser.add_subparsers(dest="action", required=True)
    dev = actions.add_parser("dev", help="run the whole product with sample traffic")
    dev.add_argument("--fresh", action="store_true", help="wipe the folder first")
    folder = "where data, keys and logs go"
    dev.add_argument("--folder", type=Path, default=Path("var"), help=folder)
    for name, text in (
        ("run", "run a command on fresh parts of its own"),
        ("settings", "run a command under made-up production settings"),
    ):
        action = actions.add_parser(name, help=text)
        action.add_argument("command", nargs="+", help="the command, after --")
    return parser.parse_args()


def _interrupt(_number: int, _frame: object) -> None:
    """End like Ctrl-C does, from wherever the program is: the ``with`` blocks stop everything."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
