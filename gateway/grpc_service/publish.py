"""``Publish``, ``PublishStream`` and ``SendMessage``: records of a partner to Kafka."""

import asyncio
from collections.abc import Sequence
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from gateway.grpc_service import faults
from gateway.grpc_service.asked import check_topic, entries_of, wrong
from gateway.grpc_service.front import Call, Failed, Front, hear, parse
from gateway.produce import Writer, used_of
from gateway.proto.kafkahub.v1 import kafkahub_pb2 as pb
from gateway.receipts import Once, checked_key, fingerprint
from kafkahub.errors import HubError, Invalid, Unavailable
from kafkahub.kafka.record import Entry, Refused, Result
from kafkahub.limits.policies import cost
from subscriptions.grants import Principal
from subscriptions.receipts import key_of

DOOR = "grpc"
MAX_OUTSTANDING = 64
"""Batches of a PublishStream without their answer; then no more is read."""


class Publishing:
    """Writes records. Lives on the event loop."""

    def __init__(self, front: Front, writer: Writer, once: Once) -> None:
        self._front = front
        self._writer = writer
        self._once = once

    async def publish(self, call: Call[pb.PublishRequest]) -> pb.PublishResponse:
        """Write one batch. Raises HubError for what is wrong with it as a whole."""
        return await self._publish(call, call.request, call.size)

    async def stream(self, call: Call[pb.PublishStreamRequest]) -> None:
        """Write batches as they come, side by side, and answer in their order."""
        answers: asyncio.Queue[asyncio.Task[pb.PublishStreamResponse] | None]
        answers = asyncio.Queue(MAX_OUTSTANDING)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._answer(call, answers))
            while (raw := await hear(call.context)) is not None:
                # Tasks begin in the order they are made in, and so do their records.
                await answers.put(tasks.create_task(self._one(call, raw)))
            await answers.put(None)

    async def send(self, call: Call[pb.SendMessageRequest]) -> pb.SendMessageResponse:
        """Write one record; the call fails when it was not written."""
        asked = call.request
        record = pb.Record(
            key=asked.key.encode() if asked.key else None,
            value=asked.message,
            headers=[
                pb.Header(key=name, value=text.encode()) for name, text in asked.headers.items()
            ],
        )
        batch = pb.PublishRequest(
            topic=asked.topic, records=[record], idempotency_key=asked.idempotency_key
        )
        result = (await self._publish(call, batch, call.size)).results[0]
        if result.HasField("error"):
            raise Failed(result.error)
        written = result.written
        return pb.SendMessageResponse(
            partition=written.partition, offset=written.offset, cursor=written.cursor
        )

    async def _answer(
        self,
        call: Call[pb.PublishStreamRequest],
        answers: "asyncio.Queue[asyncio.Task[pb.PublishStreamResponse] | None]",
    ) -> None:
        while (task := await answers.get()) is not None:
            await call.context.write((await task).SerializeToString())

    async def _one(
        self, call: Call[pb.PublishStreamRequest], raw: bytes
    ) -> pb.PublishStreamResponse:
        seq = 0
        try:
            asked = parse(raw, pb.PublishStreamRequest)
            seq = asked.seq
            if not asked.HasField("batch"):
                raise Invalid([wrong("batch", "There is no batch.")])
            result = await self._publish(call, asked.batch, len(raw))
        except HubError as error:
            return pb.PublishStreamResponse(seq=seq, error=faults.status_of(error))
        return pb.PublishStreamResponse(seq=seq, result=result)

    async def _publish(
        self,
        call: "Call[Any]",
        asked: pb.PublishRequest,
        size: int,
    ) -> pb.PublishResponse:
        check_topic(asked.topic)
        self._writer.authorize(call.principal, asked.topic)
        is_enqueued = asked.ack == pb.ACK_MODE_ENQUEUED
        if is_enqueued:
            self._check_enqueued(call.principal, asked)
        entries = entries_of(asked)
        self._front.admit(
            call, cost(requests=1, bytes_in=size, records_in=len(entries), topic=asked.topic)
        )
        if is_enqueued:
            return self._enqueue(call.principal, asked, entries)
        results, is_replayed = await self._write(call.principal, asked, entries)
        if not is_replayed:
            self._front.account.wrote(call.principal, asked.topic, used_of(results))
        shown, cursors = await self._writer.shown(call.principal, asked.topic, results)
        return pb.PublishResponse(
            results=[
                _result(record, result, cursor)
                for record, result, cursor in zip(asked.records, shown, cursors, strict=True)
            ],
            replayed=is_replayed,
        )

    def _check_enqueued(self, principal: Principal, asked: pb.PublishRequest) -> None:
        """Raise Invalid and ActionNotGranted where a batch may not be answered before Kafka."""
        if asked.idempotency_key:
            text = "It needs ACK_MODE_ALL: only then is there something to repeat."
            raise Invalid([wrong("idempotency_key", text)])
        self._writer.allow_unconfirmed(principal, asked.topic)

    def _enqueue(
        self, principal: Principal, asked: pb.PublishRequest, entries: Sequence[Entry]
    ) -> pb.PublishResponse:
        """Answer before Kafka does: a result without an outcome is a record that was taken."""
        wrote = self._front.account.wrote
        refused = self._writer.enqueue(
            asked.topic,
            entries,
            door=DOOR,
            settled=lambda late: wrote(principal, asked.topic, used_of(late, is_answered=True)),
        )
        left = [one for one in refused if one is not None]
        wrote(principal, asked.topic, used_of(left))
        if len(left) == len(entries) and all(_is_untouched(one) for one in left):
            raise Unavailable("Kafka takes no records right now; nothing was written.")
        return pb.PublishResponse(
            results=[
                pb.RecordResult(client_id=record.client_id)
                if result is None
                else _result(record, result, None)
                for record, result in zip(asked.records, refused, strict=True)
            ]
        )

    async def _write(
        self, principal: Principal, asked: pb.PublishRequest, entries: Sequence[Entry]
    ) -> tuple[Sequence[Result], bool]:
        """Return what became of each record, and whether that was known before."""
        if asked.idempotency_key:
            print_ = fingerprint([b"grpc", asked.SerializeToString(deterministic=True)])
            key = key_of(principal.partner, checked_key(asked.idempotency_key), print_)
            done = await self._once.write(key, asked.topic, entries, door=DOOR)
            return done.results, done.is_replayed
        results = await self._writer.write(asked.topic, entries, door=DOOR)
        if all(_is_untouched(one) for one in results):
            raise Unavailable("Kafka takes no records right now; nothing was written.")
        return results, False


def _is_untouched(result: Result) -> bool:
    """Return whether a record may be sent again without a doubt."""
    return isinstance(result, Refused) and result.is_retriable and not result.is_unknown


def _result(record: pb.Record, result: Result, cursor: str | None) -> pb.RecordResult:
    if isinstance(result, Refused):
        return pb.RecordResult(
            client_id=record.client_id,
            error=faults.status_of_record(result),
            may_have_been_written=result.is_unknown,
        )
    stamp = result.timestamp_ms
    written = pb.Written(
        partition=result.partition,
        offset=result.offset,
        timestamp=None if stamp is None else timestamp(stamp),
        cursor=cursor or "",
    )
    return pb.RecordResult(client_id=record.client_id, written=written)


def timestamp(unix_ms: int) -> Timestamp:
    return Timestamp(seconds=unix_ms // 1_000, nanos=unix_ms % 1_000 * 1_000_000)
