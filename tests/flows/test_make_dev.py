"""One command shows the product at work; what it prints works as copied; Ctrl-C leaves nothing."""

import json
import os
import select
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO
from unittest.mock import ANY

import pytest

ROOT = Path(__file__).resolve().parents[2]
END_DEADLINE_MS = 40_000
KEYS = {
    "base_url",
    "bootstrap_servers",
    "database_url",
    "redis_url",
    "partner_id",
    "api_key",
    "admin_url",
    "admin_user",
    "admin_password",
    "member",
    "member_password",
    "receiver_url",
    "grpc_target",
    "kafka",
    "processes",
}

pytestmark = pytest.mark.kafka


@dataclass(slots=True)
class Running:
    """A product that runs, and what it has printed so far."""

    process: "subprocess.Popen[str]"
    output: IO[str]
    folder: Path
    lines: list[str] = field(default_factory=list)

    def read_until(self, text: str) -> str:
        """Return the first line with this text; the output ending before it is a failure."""
        for line in self.output:
            self.lines.append(line)
            if text in line:
                return line
        pytest.fail(f"never said {text!r}, but:\n{''.join(self.lines)}")

    def printed(self, name: str) -> str:
        """Return what stands after a name in the text that welcomes."""
        line = next(line for line in self.lines if line.strip().startswith(f"{name} "))
        return line.strip().removeprefix(name).strip()


@pytest.fixture(scope="module")
def product() -> Iterator[Running]:
    """Return the product, started with nothing set, from an empty folder to a verified delivery."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("KAFKAHUB_")}
    with TemporaryDirectory() as above:
        Path(above).chmod(0o711)  # as root, PostgreSQL runs as somebody else
        folder = Path(above) / "var"
        command = (sys.executable, "-m", "kafkahub.devstack", "dev", "--folder", str(folder))
        with subprocess.Popen(
            command,
            cwd=ROOT,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as process:
            assert process.stdout is not None
            running = Running(process, process.stdout, folder)
            try:
                running.read_until("verified")
                yield running
            finally:
                process.send_signal(signal.SIGINT)


def copied(line: str) -> str:
    """Run a line as somebody does who copies it into a shell, and return what it prints."""
    done = subprocess.run(
        ["bash", "-c", line], check=True, cwd=ROOT, env=_shell(), capture_output=True, text=True
    )
    return done.stdout


def _shell() -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}


def test_scripts_are_told_what_runs_and_nobody_else_is(product: Running) -> None:
    path = product.folder / "dev.json"

    facts = json.loads(path.read_text())

    assert facts.keys() == KEYS
    assert facts["kafka"] == "apache"
    assert facts["processes"].keys() >= {"postgres", "redis", "kafka", "web", "deliver", "control"}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_printed_line_makes_a_subscription(product: Running) -> None:
    made = json.loads(copied(product.printed("subscribe")))

    assert made["topics"] == ["orders"]
    assert made["status"] == "active"


def test_the_printed_line_lists_deliveries(product: Running) -> None:
    listed = json.loads(copied(product.printed("deliveries")))

    assert "delivered" in {delivery["state"] for delivery in listed["data"]}


def test_the_printed_line_streams_records(product: Running) -> None:
    lines = copied(f"{product.printed('stream')} -s --max-time 10 | head -n 12")

    assert "event: heartbeat" in lines
    assert '"topic":"orders"' in lines


def test_the_lines_for_records_write_and_read(product: Running) -> None:
    v2 = json.loads(copied(product.printed("rest v2")))
    written = json.loads(copied(product.printed("write")))
    read = json.loads(copied(product.printed("read")))

    assert v2 == {
        "offsets": [{"partition": ANY, "offset": 0, "error_code": None, "error": None}],
        "key_schema_id": None,
        "value_schema_id": None,
    }
    assert written["written"] == 1
    assert [record["value"] for record in read["records"]] == [{"foo": "bar"}] * 2


def test_commands_reach_what_runs_by_the_printed_line(product: Running) -> None:
    line = product.printed("commands").replace("doctor", "check")

    assert "no issues" in copied(line)


def test_a_second_start_in_the_same_folder_is_refused(product: Running) -> None:
    command = (sys.executable, "-m", "kafkahub.devstack", "dev", "--folder", str(product.folder))

    second = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)

    assert second.returncode == 1
    assert "runs here already" in second.stderr


def test_ctrl_c_ends_every_process_and_what_they_told(product: Running) -> None:
    pids = json.loads((product.folder / "dev.json").read_text())["processes"].values()
    descriptors = [os.pidfd_open(pid) for pid in pids]

    product.process.send_signal(signal.SIGINT)

    assert product.process.wait(END_DEADLINE_MS / 1000) == 0
    assert [fd for fd in descriptors if not has_ended(fd)] == []
    assert not (product.folder / "dev.json").exists()


def has_ended(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    ended = bool(poll.poll(END_DEADLINE_MS))
    os.close(descriptor)
    return ended
