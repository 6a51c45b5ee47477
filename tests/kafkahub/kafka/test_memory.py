"""The in-memory cluster as a process."""

import signal
import subprocess
import sys

import pytest

from kafkahub import config
from kafkahub.kafka import options
from kafkahub.kafka.admin import Admin


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_it_tells_its_address_and_ends_cleanly_when_told(stop: signal.Signals) -> None:
    command = [sys.executable, "-m", "kafkahub.kafka.memory"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        bootstrap = process.stdout.readline().strip()
        settings = config.load().model_copy(update={"kafka_bootstrap": bootstrap})
        is_in_memory = Admin(options.admin_options(settings)).is_in_memory()

        process.send_signal(stop)

        assert is_in_memory
        assert process.wait(timeout=20) == 0
        assert process.stdout.read() == ""
