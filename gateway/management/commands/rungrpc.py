"""Serve gRPC: the same streams and produce code as the web process, for typed clients."""

import argparse
import asyncio
import signal
from typing import Any

import uvloop
from django.core.management.base import BaseCommand, CommandError, CommandParser

from gateway.grpc_process import Process
from kafkahub import config
from kafkahub.observability import logs

PORT = 50_051
MAX_PORT = 65_535


class Command(BaseCommand):
    """``manage.py rungrpc``."""

    help = "Run the gRPC process: records in and out for typed clients, health and reflection."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default="127.0.0.1", help="Address to listen on.")
        parser.add_argument("--port", type=_port, default=PORT, help="Port to listen on.")

    def handle(self, *_: object, **options: Any) -> None:
        settings = config.load()
        logs.configure("grpc", settings.log_level)
        host = options["host"]
        address = f"[{host}]:{options['port']}" if ":" in host else f"{host}:{options['port']}"
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            try:
                runner.run(_serve(settings, address))
            except (OSError, RuntimeError) as error:
                raise CommandError(f"gRPC cannot be served on {address}: {error}") from None


async def _serve(settings: config.Config, address: str) -> None:
    """Serve until SIGTERM or SIGINT; open streams are drained before this returns."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop(*_: object) -> None:
        loop.call_soon_threadsafe(stopping.set)

    # The gateway puts its drain before these, and calls them when the streams have gone.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    serving = Process(settings)
    await serving.start(address)
    try:
        await stopping.wait()
    finally:
        await serving.stop()


def _port(text: str) -> int:
    number = int(text)
    if not 0 <= number <= MAX_PORT:
        raise argparse.ArgumentTypeError("a port is 0 to 65535")
    return number
