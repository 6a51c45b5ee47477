"""A sink verifies on its own, logs before it answers, and misbehaves as it is told."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPConnection, RemoteDisconnected  # noqa: TID251 - asks a server of ours
from pathlib import Path

import pytest

from kafkahub import signing
from kafkahub.devstack import ports
from tests.torture import orders
from tests.torture.parts import ROOT, wait_for_port

SECRET = signing.new_secret()
BODY = json.dumps({"data": {"seq": 7, "canary": "mine"}}).encode()


@dataclass(frozen=True)
class Sink:
    """A running sink."""

    port: int
    control: int
    log: Path

    def post(self, body: bytes = BODY, secret: str = SECRET) -> int:
        """Deliver as an engine would; return the status, 0 for none."""
        moment = int(time.time())
        key = signing.signer(secret)
        headers = {
            "webhook-id": "msg_1",
            "webhook-timestamp": str(moment),
            "webhook-signature": signing.signature_header([key], "msg_1", moment, body),
            "kafkahub-attempt": "1",
        }
        connection = HTTPConnection("127.0.0.1", self.port, timeout=0.5)
        try:
            connection.request("POST", "/plain", body, headers)
            return connection.getresponse().status
        except (RemoteDisconnected, ConnectionError, TimeoutError):
            return 0
        finally:
            connection.close()

    def lines(self) -> list[list[str]]:
        return [line.split("\t") for line in self.log.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def sink(tmp_path: Path) -> Iterator[Sink]:
    made = Sink(ports.spare(), ports.spare(), tmp_path / "tenant.log")
    plan = {
        "seed": 1,
        "port": made.port,
        "control": made.control,
        "log": str(made.log),
        "secrets": {"plain": signing.parse_secret(SECRET).hex()},
        "foreign": ["theirs"],
        "is_calm": True,
    }
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(plan), encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.torture.sink", str(path)], cwd=ROOT, env=dict(os.environ)
    )
    wait_for_port(made.control)
    try:
        yield made
    finally:
        process.kill()
        process.wait()


def test_a_delivery_is_on_disk_before_it_is_answered(sink: Sink) -> None:
    assert sink.post() == 204

    [[_, path, webhook_id, seq, _, attempt, status, *flags]] = sink.lines()
    assert (path, webhook_id, seq, attempt, status) == ("plain", "msg_1", "7", "1", "204")
    assert flags == ["0", "1", "0"]


def test_a_wrong_signature_and_a_foreign_canary_are_noted(sink: Sink) -> None:
    sink.post(secret=signing.new_secret())
    sink.post(json.dumps({"data": {"seq": 8, "canary": "theirs"}}).encode())

    assert [line[-2:] for line in sink.lines()] == [["0", "0"], ["1", "1"]]


def test_a_sink_is_down_silent_or_away_as_it_is_told(sink: Sink) -> None:
    orders.give(sink.control, mode="down")
    assert sink.post() == 503
    orders.give(sink.control, mode="hang")
    assert sink.post() == 0
    orders.give(sink.control, mode="refuse")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", sink.port), timeout=1)
    orders.give(sink.control, mode="ok")
    assert sink.post() == 204
