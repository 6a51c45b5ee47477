"""The torture suite: the product on real stores, under load, while everything that can fail does.

``python -m tests.torture [--profile quick|long] [--seed N] [--minutes M]``. The last line on
standard output is the result as JSON, which is in ``torture.json`` as well; the exit status is 0
when the verdict is ``pass``. See docs/promises.md.
"""

import argparse
import json
import secrets
import subprocess
import sys
from pathlib import Path

from kafkahub.devstack.terminal import say
from tests.torture import suite

RESULT = Path("torture.json")


def main() -> int:
    asked = _arguments()
    seed = asked.seed if asked.seed is not None else secrets.randbelow(1_000_000)
    say(f"torture: profile {asked.profile}, seed {seed}")
    result = suite.torture(
        asked.profile, seed, minutes=asked.minutes, per_s=asked.per_s, keep=asked.keep
    )
    line = json.dumps({**result, "commit": _commit()})
    RESULT.write_text(line + "\n", encoding="utf-8")
    print(line, flush=True)
    return 0 if result["verdict"] == "pass" else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", choices=suite.PROFILES, default="quick")
    parser.add_argument("--seed", type=int, help="what everything is drawn from; random without")
    parser.add_argument("--minutes", type=float, help="how long the load lasts")
    parser.add_argument("--per-s", type=float, help="records a second; fewer on a busy machine")
    parser.add_argument("--keep", type=Path, help="folder that the logs are kept in")
    return parser.parse_args()


def _commit() -> str:
    command = ("git", "rev-parse", "--short", "HEAD")
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    return done.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
