"""One run: a product on its stores, tenants with sinks, a producer, and what is noted of faults."""

import json
import sys
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from random import Random
from typing import TypeVar

import psycopg

from kafkahub.devstack import ports, postgres
from kafkahub.devstack.processes import Child, Processes, Program, StartFailed
from tests.torture import orders
from tests.torture.history import Fault
from tests.torture.parts import HARNESS, ROOT, Parts, wait_for_port
from tests.torture.product import Product, Running
from tests.torture.tenants import PARTITIONS, Made, Tenant

T = TypeVar("T")
Steps = Generator[Callable[[], bool], None, T]
"""Yields what it waits for; goes on once that holds. So several run side by side in one thread."""
Track = Steps[None]

ROUND_S = 0.05
SEED_S = 120.0
CLAIM_S = 60.0
RECOVER_S = 45.0
"""Longest wait for all partitions to move again before the next fault comes; the verdict on how
long it took is the checker's."""

FLOORS = "SELECT topic, partition, next_offset, epoch FROM partition_position"

CUT_CONNECTIONS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"


@dataclass(frozen=True, slots=True)
class Size:
    """How big a run is.

    records   of all tenants together, at ``per_s`` a second
    stretch   a busy machine gets up to so many times the records, for every fault to have its turn
    window    requests one engine has under way; ``outcomes`` not yet committed: see B below
    """

    tenants: int
    records: int
    per_s: float
    keys: int
    window: int = 64
    outcomes: int = 100
    drain_s: int = 8
    stretch: int = 2

    @property
    def crash(self) -> int:
        """B: the copies that one crash of one engine may cost."""
        return self.window + self.outcomes


@dataclass(slots=True)
class Run:
    """What faults act upon.

    Runs   in the main thread, to which all its processes are tied
    """

    parts: Parts
    processes: Processes
    folder: Path
    size: Size
    seed: int
    mark: str
    planted: str = ""
    is_calm: bool = False
    faults: list[Fault] = field(default_factory=list)
    made: list[Made] = field(default_factory=list)
    sinks: dict[str, int] = field(default_factory=dict)
    random: Random = field(init=False)
    product: Product = field(init=False)
    producer: Child | None = None
    unplayed: int = 0
    deaths: list[str] = field(default_factory=list)
    env: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.random = Random(f"{self.seed}-{self.mark}")  # noqa: S311 - repeatable
        self.env = {
            **self.parts.env,
            "KAFKAHUB_KAFKA_GROUP": f"torture-{self.mark}",
            "KAFKAHUB_DELIVERY_MAX_IN_FLIGHT": str(self.size.window),
            "KAFKAHUB_DELIVERY_CHECKPOINT_OUTCOMES": str(self.size.outcomes),
            "KAFKAHUB_DELIVERY_DRAIN_S": str(self.size.drain_s),
            "KAFKAHUB_DATABASE_URL": self._database(self.parts.env["KAFKAHUB_DATABASE_URL"]),
        }
        self.product = Product(self.processes, self.folder, self.env, self.planted)

    # Preparation.

    def prepare(self) -> None:
        """Make the database, the tenants and their sinks."""
        url = self.parts.direct["postgres"]
        with psycopg.connect(url, dbname="postgres", autocommit=True) as conn:
            conn.execute(f'CREATE DATABASE "{self._name}" TEMPLATE "{postgres.NAME}"')
        doors = [ports.spare() for _ in range(self.size.tenants)]
        self.made = self._seed(doors)
        for one, port in zip(self.made, doors, strict=True):
            self._start_sink(one, port)

    def produce(self) -> None:
        """Start the producer."""
        plan = {
            "seed": self.seed,
            "bootstrap": self.parts.direct["kafka"],
            "tenants": {
                one.tenant.name: (one.tenant.topic, one.tenant.canary) for one in self.made
            },
            "least": self.size.records,
            "most": self.size.records * self.size.stretch,
            "stop": str(self.folder / "stop"),
            "per_s": self.size.per_s,
            "keys": self.size.keys,
            "acked": str(self.folder / "acked.log"),
            "unknown": str(self.folder / "unknown.log"),
        }
        self.producer = self._harness("producer", plan)

    def end_production(self) -> None:
        """Let the producer end once it has written as many records as it shall at least."""
        (self.folder / "stop").touch()

    @property
    def is_produced(self) -> bool:
        return self.producer is not None and self.producer.has_ended()

    def _seed(self, doors: list[int]) -> list[Made]:
        plan = {"mark": self.mark, "ports": doors, "in_flight": self.size.window}
        child = self._harness("seed", plan)
        if child.finish(SEED_S) != 0:
            raise StartFailed((self.folder / "seed.log").read_text(encoding="utf-8"))
        answer = (self.folder / "seed.log").read_text(encoding="utf-8").splitlines()[-1]
        return [
            Made(Tenant.numbered(number, self.mark), **one)
            for number, one in enumerate(json.loads(answer))
        ]

    def _start_sink(self, made: Made, port: int) -> None:
        control = ports.spare()
        plan = {
            "seed": self.seed,
            "port": port,
            "control": control,
            "log": str(self.folder / f"{made.tenant.name}.log"),
            "secrets": made.secrets,
            "foreign": [one.tenant.canary for one in self.made if one is not made],
            "is_calm": self.is_calm,
        }
        self._harness("sink", plan, name=f"sink-{made.tenant.name}")
        wait_for_port(control)
        self.sinks[made.tenant.name] = control

    def _harness(self, module: str, plan: Mapping[str, object], name: str = "") -> Child:
        """Start a process of the harness itself, with its plan in a file."""
        name = name or module
        path = self.folder / f"{name}.json"
        path.write_text(json.dumps(plan), encoding="utf-8")
        program = Program(
            name=name,
            argv=(sys.executable, "-m", f"tests.torture.{module}", str(path)),
            env={**self.env, "DJANGO_SETTINGS_MODULE": "kafkahub.settings"},
            cwd=ROOT,
            tier=HARNESS,
            log=self.folder / f"{name}.log",
        )
        return self.processes.start(program)

    # The stores, past the proxies.

    @property
    def _name(self) -> str:
        return f"torture_{self.mark}"

    def _database(self, url: str) -> str:
        return url.rsplit("/", 1)[0] + "/" + self._name

    def connect(self) -> psycopg.Connection[tuple[object, ...]]:
        """Return a connection of the harness's own. Raises psycopg.Error while it is away."""
        url = self._database(self.parts.direct["postgres"])
        return psycopg.connect(url, autocommit=True, connect_timeout=2)

    def floors(self) -> dict[tuple[str, int], tuple[int, int]]:
        """Return floor and epoch of each partition; nothing while PostgreSQL is away."""
        try:
            with closing(self.connect()) as conn:
                rows = conn.execute(FLOORS).fetchall()
        except psycopg.Error:
            return {}
        return {(str(t), int(str(p))): (int(str(o)), int(str(e))) for t, p, o, e in rows}

    def is_claimed(self) -> bool:
        """Whether every partition has been claimed at least once."""
        return len(self.floors()) == PARTITIONS * self.size.tenants

    # Faults.

    def note(self, fault: Fault) -> int:
        """Note a fault and return its number.

        Copies that come before its ``until`` are counted against it.
        """
        self.faults.append(fault)
        return len(self.faults) - 1

    def lasted(self, *numbers: int) -> Track:
        """Let these faults last until every partition has moved again."""
        yield from moved(self)
        for number in numbers:
            self.faults[number] = replace(self.faults[number], until=time.monotonic())

    def order(self, tenant: str, mode: str) -> None:
        """Tell a tenant's sink how to behave."""
        orders.give(self.sinks[tenant], mode=mode)

    def engines(self) -> list[tuple[Running, int]]:
        """Return the living engines, each with its worker."""
        return [(one, pid) for one in self.product.workers for pid in one.engines()]

    def save(self) -> None:
        """Write what is noted beside the logs, a fault a line."""
        lines = [json.dumps(asdict(fault), default=str) for fault in self.faults]
        (self.folder / "faults.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def pause(seconds: float) -> Track:
    """Wait so long."""
    until = time.monotonic() + seconds
    yield lambda: time.monotonic() >= until


def wait(holds: Callable[[], bool], limit_s: float) -> Steps[bool]:
    """Wait until something holds; return whether it did in time."""
    until = time.monotonic() + limit_s
    seen: list[bool] = []

    def is_over() -> bool:
        if holds():
            seen.append(True)
        return bool(seen) or time.monotonic() > until

    yield is_over
    return bool(seen)


def moved(run: Run) -> Steps[float]:
    """Wait until every partition's floor has moved since now; return the seconds it took."""
    begun = time.monotonic()
    before: dict[tuple[str, int], tuple[int, int]] = {}
    looked = [0.0]

    def has_moved() -> bool:
        if run.is_produced or time.monotonic() - looked[0] < 10 * ROUND_S:
            return run.is_produced
        looked[0] = time.monotonic()
        now = run.floors()
        if not before:
            before.update(now)
            return False
        return bool(now) and all(now[place][0] > floor for place, (floor, _) in before.items())

    yield from wait(has_moved, RECOVER_S)
    return time.monotonic() - begun


def drive(tracks: list[Track], is_over: Callable[[], bool]) -> None:
    """Let tracks run side by side until all have ended and ``is_over``."""
    waiting = {id(track): (track, _always) for track in tracks}
    while waiting or not is_over():
        for number, (track, holds) in list(waiting.items()):
            if not holds():
                continue
            try:
                waiting[number] = (track, next(track))
            except StopIteration:
                del waiting[number]
        time.sleep(ROUND_S)


def _always() -> bool:
    return True
