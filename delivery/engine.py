"""One delivery engine: its threads, started, watched and stopped in one place."""

import gc
import secrets
import threading
import time
from collections.abc import Callable, Iterable
from typing import Protocol
from uuid import UUID, uuid4

import psycopg
import structlog

from delivery import database, inbox, ledger, used
from delivery.backlog import Backlog
from delivery.batch import Batch, Outcomes
from delivery.board import Board, Room
from delivery.checkpoint import Checkpoint
from delivery.consumer import Consumer, Gate
from delivery.dispatcher import Dispatcher, Limits, Outside
from delivery.forms import Naming
from delivery.health import Reporter
from delivery.inbox import Place
from delivery.missing import Missing
from delivery.pace import Paces
from delivery.redelivery import Redelivery
from delivery.sender import Sender
from delivery.standings import Cursors, Seal, StandingsKeeper
from delivery.topic_ids import TopicIds
from delivery.upkeep import Upkeep
from delivery.watchdog import Watchdog
from delivery.window import Turns
from kafkahub import clock, crypto
from kafkahub.config import Config
from kafkahub.errors import Unavailable
from kafkahub.failpoints import failpoint
from kafkahub.fields import encryption_ring
from kafkahub.kafka import options
from kafkahub.kafka.admin import Admin
from kafkahub.kafka.faults import KafkaUnavailable
from kafkahub.limits.limiter import Limiter
from subscriptions import sealing
from subscriptions.live import Snapshot
from subscriptions.snapshot import SnapshotKeeper
from subscriptions.usage import process_usage

RETRY_S = 1.0
"""Between two tries to reach PostgreSQL and Kafka at the start."""
JOIN_S = 5.0
YOUNG_OBJECTS = 50_000
"""Objects made before the collector looks: an engine makes thousands that live for milliseconds and
form no cycles, and looking for them costs 3 % of its time at Python's 700."""

log = structlog.get_logger()


class Stoppable(Protocol):
    """A part that ends its thread when asked."""

    def stop(self) -> None: ...


class Engine:
    """From Kafka records to acknowledged webhooks.

    Runs   threads for the consumer, the sender (with the dispatcher), the checkpoint, the backlog,
           redelivery with its leases, standings, upkeep and the watchdog, beside those of the
           snapshot keeper and the resolver
    Owns   everything that it builds; made after fork
    Ends   ``stop``. When a thread dies ``on_failure`` is called and the process shall end: a
           fresh engine starts from what is durable
    """

    def __init__(
        self, config: Config, keeper: SnapshotKeeper, on_failure: Callable[[str], None]
    ) -> None:
        self.owner: UUID = uuid4()
        self._config = config
        self._keeper = keeper
        self._on_failure = on_failure
        self._url = config.database_url.get_secret_value()
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._gate = Gate()
        self._upkeep = Upkeep()
        self._paces = Paces(self._limiter)
        self._reporter = Reporter(self.owner, self._connect)
        self._dispatcher: Dispatcher
        self._sender: Sender
        self._checkpoint: Checkpoint
        self._consumer: Consumer
        self._backlog: Backlog
        self._redelivery: Redelivery
        self._standings: StandingsKeeper
        self._watchdog: Watchdog
        self.is_running = threading.Event()
        """Set once every thread runs."""

    def start(self) -> None:
        """Start, and return at once; the first thread waits for PostgreSQL and Kafka."""
        gc.freeze()  # what was imported stays for ever: the collector need not look at it
        gc.set_threshold(YOUNG_OBJECTS)
        self._spawn("open", self._open)

    def stop(self, deadline_s: float) -> bool:
        """Take nothing new, let what is in flight land and become durable, leave the group.

        Returns whether that was done in time; what was not is sent again by the next engine.
        """
        failpoint("drain.begun")
        until = time.monotonic() + deadline_s
        self._stopping.set()
        is_clean = True
        if self.is_running.is_set():
            drain = inbox.Drain()
            self._post(drain)
            is_clean = drain.done.wait(deadline_s)
            for part in self._parts():
                part.stop()
            self._join(("consumer", "backlog", "redelivery"), until)
            self._sender.stop()
            self._checkpoint.stop()
        self._paces.stop()
        self._keeper.stop()
        self._join([thread.name for thread in self._threads], until + JOIN_S)
        log.info("engine.stopped", owner=str(self.owner), is_clean=is_clean)
        return is_clean

    def _open(self) -> None:
        """Reach PostgreSQL and Kafka, then build and start everything."""
        self._read_subscriptions()
        naming, now_us = self._naming(), self._clock()
        if naming is None or now_us is None:
            return
        self._build(naming, now_us)
        self._spawn("sender", self._sender.run)
        self._spawn("checkpoint", self._checkpoint.run)
        self._spawn("backlog", self._backlog.run)
        self._spawn("redelivery", self._redelivery.run)
        self._spawn("leases", self._redelivery.leases.renew)
        self._spawn("lease guard", self._redelivery.leases.guard)
        self._spawn("standings", self._standings.run)
        self._spawn("upkeep", self._upkeep.run)
        self._spawn("health", self._reporter.run)
        self._spawn("consumer", self._consumer.run)
        self._spawn("watchdog", self._watchdog.run)
        self.is_running.set()
        log.info("engine.started", owner=str(self.owner))

    def _build(self, naming: Naming, now_us: Callable[[float], int]) -> None:
        config, turns = self._config, Turns()
        outcomes = Outcomes(self.owner, now_us)
        self._backlog = Backlog(
            options=options.reader_options(config),
            snapshot=self._snapshot,
            post=self._post,
            shorter=self._shorter,
            missing=Missing(self._connect),
        )
        topics = TopicIds(Admin(options.admin_options(config)))
        board = Board(
            naming,
            Room(config.delivery_lane_records, config.delivery_lane_bytes),
            turns=turns,
            outcomes=outcomes,
            ask=self._backlog.ask,
            gate=self._gate.set,
            paces=self._paces.of,
        )
        self._dispatcher = Dispatcher(
            board,
            Limits(
                checkpoint_s=config.delivery_checkpoint_ms / 1000,
                checkpoint_outcomes=config.delivery_checkpoint_outcomes,
                retry_after_max_s=config.retry_after_max_s,
            ),
            Outside(
                commit=self._commit,
                drop=self._drop,
                gone=self._upkeep.gone,
                report=self._reporter.submit,
            ),
            turns=turns,
            outcomes=outcomes,
            cursors=Cursors(naming.cluster, lambda: self._standings.current, _seal_of),
            seed=secrets.randbits(64),
        )
        self._sender = Sender.of(config, self._dispatcher)
        self._checkpoint = Checkpoint(
            self.owner,
            self._connect,
            kept_days=config.dead_letters_kept_days,
            on_committed=self._committed,
        )
        self._redelivery = Redelivery(
            self.owner,
            self._connect,
            snapshot=self._snapshot,
            down=lambda: self._dispatcher.down,
            held=lambda: self._dispatcher.held,
            post=self._post,
        )
        self._standings = StandingsKeeper(self._connect, topics, self._snapshot)
        self._consumer = Consumer(
            self.owner,
            self._connect,
            options=options.consumer_options(config),
            group=config.kafka_group,
            snapshot=self._snapshot,
            post=self._post,
            gate=self._gate,
            topics=topics,
        )
        self._watchdog = self._made_watchdog()

    def _made_watchdog(self) -> Watchdog:
        admin = Admin(options.admin_options(self._config))
        return Watchdog(
            self.owner,
            self._connect,
            ends=lambda topic: {part: high for part, (_, high) in admin.watermarks(topic).items()},
            post=self._post,
            read_at=lambda: self._consumer.turned_at,
            bark=self._on_failure,
            limit_s=self._config.delivery_stall_s,
        )

    def _parts(self) -> tuple[Stoppable, ...]:
        """Return what stops before the sender does."""
        return (
            self._consumer,
            self._backlog,
            self._redelivery,
            self._standings,
            self._watchdog,
            self._upkeep,
            self._reporter,
        )

    def _limiter(self) -> Limiter:
        """Return what shares rates with the other engines; they alone count as its company."""
        url = self._config.redis_url.get_secret_value()
        return Limiter(url, processes=self._config.processes, company="engines")

    # Between the threads.

    def _post(self, note: inbox.Note) -> None:
        self._dispatcher.post(note)
        self._sender.wake()

    def _commit(self, batch: Batch) -> None:
        self._checkpoint.submit(batch)

    def _drop(self, places: Iterable[Place]) -> None:
        self._consumer.drop(places)

    def _shorter(self, place: Place) -> None:
        self._consumer.shorter(place)

    def _committed(self, note: inbox.Committed, batch: Batch) -> None:
        used.note(batch, process_usage())
        self._redelivery.finished(
            [
                *batch.delivered,
                *(row.id for row in batch.rescheduled),
                *(row.id for row in batch.dead),
                *batch.unclaimed,
            ]
        )
        self._consumer.commit_advisory(
            {(floor.topic, floor.partition): floor.next_offset for floor in batch.floors}
        )
        self._post(note)

    def _snapshot(self) -> Snapshot:
        return self._keeper.current

    def _connect(self) -> database.Conn:
        return database.connect(self._url, "kafkahub engine")

    # The start.

    def _read_subscriptions(self) -> None:
        """Start the keeper and wait for its first snapshot, however long PostgreSQL is away."""
        try:
            self._keeper.start()
        except Unavailable as error:
            log.warning("engine.waiting", part="postgresql", error=str(error))
            while not self._stopping.is_set() and not self._keeper.wait_until(0, RETRY_S):
                pass

    def _naming(self) -> Naming | None:
        """Return what ids are made from, once Kafka has told its name; None when stopped first."""
        admin = Admin(options.admin_options(self._config))
        key = crypto.parse_key(self._config.id_key.get_secret_value())
        while not self._stopping.is_set():
            try:
                return Naming(key, admin.cluster_id(), self._config.base_url)
            except KafkaUnavailable as error:
                log.warning("engine.waiting", part="kafka", error=str(error))
            self._stopping.wait(RETRY_S)
        return None

    def _clock(self) -> Callable[[float], int] | None:
        """Return PostgreSQL's clock as a function of the monotonic one; None when stopped first."""
        while not self._stopping.is_set():
            try:
                with self._connect() as conn:
                    base = ledger.clock_us(conn) - int(time.monotonic() * 1e6)
            except psycopg.Error as error:
                log.warning("engine.waiting", part="postgresql", error=str(error))
                self._stopping.wait(RETRY_S)
            else:
                return lambda now: base + int(now * 1e6)
        return None

    # Threads.

    def _spawn(self, name: str, run: Callable[[], None]) -> None:
        thread = threading.Thread(target=self._guarded, args=(name, run), name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _guarded(self, name: str, run: Callable[[], None]) -> None:
        try:
            run()
        except Exception:  # the outermost loop of a thread: the process must not go on without it
            log.exception("engine.thread_died", thread=name)
            if not self._stopping.is_set():
                self._on_failure(name)

    def _join(self, names: Iterable[str], until: float) -> None:
        wanted = set(names)
        for thread in self._threads:
            if thread.name in wanted:
                thread.join(max(0.0, until - time.monotonic()))


def _seal_of(partner: str) -> Seal:
    return sealing.sealer(encryption_ring(), partner, clock.now()).seal
