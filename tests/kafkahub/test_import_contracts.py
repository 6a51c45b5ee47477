"""The import contracts: kept by the source, and each one broken by what it forbids."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("kafkahub", "subscriptions", "delivery", "gateway")
VIOLATIONS = {
    "1.": ("kafkahub/errors.py", "import kafkahub.ids"),
    "2.": ("subscriptions/grants.py", "import subscriptions.models"),
    "3.": ("delivery/retry.py", "import delivery.engine"),
    "4.": ("gateway/server.py", "import gateway.app"),
    "5.": ("delivery/floor.py", "import time"),
    "6a.": ("delivery/engine.py", "import confluent_kafka"),
    "6b.": ("delivery/engine.py", "import pycurl"),
    "6c.": ("delivery/engine.py", "import pycares"),
    "6d.": ("delivery/engine.py", "import redis"),
    "6e.": ("delivery/engine.py", "import celery"),
    "6f.": ("delivery/engine.py", "import rest_framework"),
    "6g.": ("delivery/engine.py", "import pydantic"),
    "6h.": ("delivery/engine.py", "import prometheus_client"),
    "6i.": ("delivery/engine.py", "import uvicorn"),
    "6j.": ("gateway/server.py", "import django"),
    "6k.": ("delivery/engine.py", "import cryptography"),
    "6l.": ("delivery/engine.py", "import grpc"),
    "6m.": ("delivery/engine.py", "import websockets"),
    "6n.": ("delivery/engine.py", "import jwt"),
    "6o.": ("delivery/engine.py", "import oauth2_provider"),
    "6p.": ("delivery/engine.py", "import allauth"),
}
"""By the number a contract's name begins with: a file, and a line that must not stand in it."""


def verdicts(root: Path) -> dict[str, str]:
    """Return KEPT or BROKEN by the number of each contract."""
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    done = subprocess.run(
        command, cwd=root, capture_output=True, text=True, check=False, timeout=100
    )
    found = re.findall(r"^(\d\w?\.) .* (KEPT|BROKEN)$", done.stdout, re.MULTILINE)
    assert found, done.stdout + done.stderr
    return dict(found)


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the verdicts on a copy of the source that violates every contract once."""
    root = tmp_path_factory.mktemp("violations")
    shutil.copy(ROOT / "pyproject.toml", root)
    for package in PACKAGES:
        shutil.copytree(ROOT / package, root / package, ignore=shutil.ignore_patterns("*.pyc"))
    (root / "gateway" / "app.py").write_text('"""Above the server."""\n')
    for path, line in VIOLATIONS.values():
        with (root / path).open("a") as source:
            source.write(f"\n{line}\n")
    return verdicts(root)


def test_the_source_keeps_every_contract() -> None:
    assert verdicts(ROOT) == dict.fromkeys(VIOLATIONS, "KEPT")


@pytest.mark.parametrize("number", VIOLATIONS)
def test_a_violation_is_found(number: str, broken: dict[str, str]) -> None:
    assert broken[number] == "BROKEN"
