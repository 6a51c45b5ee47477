"""TCP proxies that can be made to fail: between our processes and their stores.

Run as ``python -m tests.torture.fault_proxy CONTROL NAME:LISTEN:TARGET …``. An order is
``{"proxy": "postgres", "mode": "blackhole"}`` and holds for connections that are open as well.
Modes: ``pass``; ``latency`` (``ms`` later, each way); ``rate`` (``bytes_s``); ``blackhole``
(nothing passes, nothing closes); ``reset`` (open connections are broken off, new ones too);
``refuse`` (the same, and nobody listens); ``cut`` (broken off after ``bytes``).
"""

import asyncio
import contextlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

import uvloop

from tests.torture import orders

HOST = "127.0.0.1"
CHUNK = 65_536


@dataclass(slots=True)
class Proxy:
    """One door to one target.

    mode    what happens to what passes
    amount  the number that goes with it
    """

    name: str
    port: int
    target: int
    mode: str = "pass"
    amount: float = 0.0
    is_passing: asyncio.Event = field(default_factory=asyncio.Event)
    writers: set[asyncio.StreamWriter] = field(default_factory=set)
    server: asyncio.Server | None = None

    async def listen(self) -> None:
        self.is_passing.set()
        self.server = await asyncio.start_server(self._serve, HOST, self.port, backlog=512)

    async def obey(self, mode: str, amount: float) -> None:
        """Change the mode, for open connections too."""
        if self.mode == "refuse" and mode != "refuse":
            await self.listen()
        self.mode, self.amount = mode, amount
        if mode == "blackhole":
            self.is_passing.clear()
        else:
            self.is_passing.set()
        if mode == "refuse" and self.server is not None:
            self.server.close()
        if mode in {"reset", "refuse"}:
            for writer in list(self.writers):
                writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.mode == "reset":
            writer.transport.abort()
            return
        try:
            await self.is_passing.wait()
            onward_reader, onward = await asyncio.open_connection(HOST, self.target)
        except OSError:
            writer.transport.abort()  # the target is down: its clients shall see just that
            return
        self.writers |= {writer, onward}
        try:
            there = self._pump(reader, onward)
            back = self._pump(onward_reader, writer)
            await asyncio.gather(there, back)
        finally:
            for one in (writer, onward):
                self.writers.discard(one)
                one.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        passed = 0
        with contextlib.suppress(ConnectionError):
            while content := await reader.read(CHUNK):
                await self.is_passing.wait()
                passed += len(content)
                if self.mode == "latency":
                    await asyncio.sleep(self.amount / 1000)
                elif self.mode == "rate":
                    await asyncio.sleep(len(content) / self.amount)
                elif self.mode == "cut" and passed > self.amount:
                    break
                writer.write(content)
                await writer.drain()
        # What has ended one way is over: none of our protocols closes half a connection.
        writer.close()


async def serve(control: int, proxies: dict[str, Proxy]) -> None:
    """Serve until killed."""

    async def obey(order: Mapping[str, object]) -> None:
        amount = order.get("ms") or order.get("bytes_s") or order.get("bytes") or 0
        await proxies[str(order["proxy"])].obey(str(order["mode"]), float(str(amount)))

    for proxy in proxies.values():
        await proxy.listen()
    await orders.listen(control, obey)
    await asyncio.Event().wait()


def main(control: str, *doors: str) -> None:
    parts = [door.split(":") for door in doors]
    proxies = {name: Proxy(name, int(port), int(target)) for name, port, target in parts}
    uvloop.run(serve(int(control), proxies))


if __name__ == "__main__":
    main(*sys.argv[1:])
