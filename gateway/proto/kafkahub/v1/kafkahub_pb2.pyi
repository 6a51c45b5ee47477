import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.rpc import status_pb2 as _status_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AckMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ACK_MODE_UNSPECIFIED: _ClassVar[AckMode]
    ACK_MODE_ALL: _ClassVar[AckMode]
    ACK_MODE_ENQUEUED: _ClassVar[AckMode]

class Edge(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EDGE_UNSPECIFIED: _ClassVar[Edge]
    EDGE_LATEST: _ClassVar[Edge]
    EDGE_EARLIEST: _ClassVar[Edge]

class GroupMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    GROUP_MODE_UNSPECIFIED: _ClassVar[GroupMode]
    GROUP_MODE_ORDERED: _ClassVar[GroupMode]
    GROUP_MODE_PARALLEL: _ClassVar[GroupMode]

class OnGap(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ON_GAP_UNSPECIFIED: _ClassVar[OnGap]
    ON_GAP_CONTINUE: _ClassVar[OnGap]
    ON_GAP_FAIL: _ClassVar[OnGap]

class Action(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ACTION_UNSPECIFIED: _ClassVar[Action]
    ACTION_RECONNECT: _ClassVar[Action]
    ACTION_BACKOFF: _ClassVar[Action]
    ACTION_STOP: _ClassVar[Action]
ACK_MODE_UNSPECIFIED: AckMode
ACK_MODE_ALL: AckMode
ACK_MODE_ENQUEUED: AckMode
EDGE_UNSPECIFIED: Edge
EDGE_LATEST: Edge
EDGE_EARLIEST: Edge
GROUP_MODE_UNSPECIFIED: GroupMode
GROUP_MODE_ORDERED: GroupMode
GROUP_MODE_PARALLEL: GroupMode
ON_GAP_UNSPECIFIED: OnGap
ON_GAP_CONTINUE: OnGap
ON_GAP_FAIL: OnGap
ACTION_UNSPECIFIED: Action
ACTION_RECONNECT: Action
ACTION_BACKOFF: Action
ACTION_STOP: Action

class ListTopicsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListTopicsResponse(_message.Message):
    __slots__ = ("topics",)
    TOPICS_FIELD_NUMBER: _ClassVar[int]
    topics: _containers.RepeatedCompositeFieldContainer[Topic]
    def __init__(self, topics: _Optional[_Iterable[_Union[Topic, _Mapping]]] = ...) -> None: ...

class Topic(_message.Message):
    __slots__ = ("name", "format", "can_read", "can_write", "partitions")
    NAME_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    CAN_READ_FIELD_NUMBER: _ClassVar[int]
    CAN_WRITE_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    name: str
    format: str
    can_read: bool
    can_write: bool
    partitions: int
    def __init__(self, name: _Optional[str] = ..., format: _Optional[str] = ..., can_read: _Optional[bool] = ..., can_write: _Optional[bool] = ..., partitions: _Optional[int] = ...) -> None: ...

class GetPositionsRequest(_message.Message):
    __slots__ = ("group",)
    GROUP_FIELD_NUMBER: _ClassVar[int]
    group: str
    def __init__(self, group: _Optional[str] = ...) -> None: ...

class GetPositionsResponse(_message.Message):
    __slots__ = ("cursor", "topics")
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    TOPICS_FIELD_NUMBER: _ClassVar[int]
    cursor: str
    topics: _containers.RepeatedCompositeFieldContainer[TopicPosition]
    def __init__(self, cursor: _Optional[str] = ..., topics: _Optional[_Iterable[_Union[TopicPosition, _Mapping]]] = ...) -> None: ...

class TopicPosition(_message.Message):
    __slots__ = ("topic", "lag_records", "lag_seconds")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    LAG_RECORDS_FIELD_NUMBER: _ClassVar[int]
    LAG_SECONDS_FIELD_NUMBER: _ClassVar[int]
    topic: str
    lag_records: int
    lag_seconds: float
    def __init__(self, topic: _Optional[str] = ..., lag_records: _Optional[int] = ..., lag_seconds: _Optional[float] = ...) -> None: ...

class Header(_message.Message):
    __slots__ = ("key", "value")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    key: str
    value: bytes
    def __init__(self, key: _Optional[str] = ..., value: _Optional[bytes] = ...) -> None: ...

class Record(_message.Message):
    __slots__ = ("client_id", "key", "value", "headers", "timestamp", "partition")
    CLIENT_ID_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    HEADERS_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    client_id: str
    key: bytes
    value: bytes
    headers: _containers.RepeatedCompositeFieldContainer[Header]
    timestamp: _timestamp_pb2.Timestamp
    partition: int
    def __init__(self, client_id: _Optional[str] = ..., key: _Optional[bytes] = ..., value: _Optional[bytes] = ..., headers: _Optional[_Iterable[_Union[Header, _Mapping]]] = ..., timestamp: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., partition: _Optional[int] = ...) -> None: ...

class PublishRequest(_message.Message):
    __slots__ = ("topic", "records", "ack", "idempotency_key")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    ACK_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    topic: str
    records: _containers.RepeatedCompositeFieldContainer[Record]
    ack: AckMode
    idempotency_key: str
    def __init__(self, topic: _Optional[str] = ..., records: _Optional[_Iterable[_Union[Record, _Mapping]]] = ..., ack: _Optional[_Union[AckMode, str]] = ..., idempotency_key: _Optional[str] = ...) -> None: ...

class PublishResponse(_message.Message):
    __slots__ = ("results", "replayed")
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    REPLAYED_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[RecordResult]
    replayed: bool
    def __init__(self, results: _Optional[_Iterable[_Union[RecordResult, _Mapping]]] = ..., replayed: _Optional[bool] = ...) -> None: ...

class RecordResult(_message.Message):
    __slots__ = ("client_id", "written", "error", "may_have_been_written")
    CLIENT_ID_FIELD_NUMBER: _ClassVar[int]
    WRITTEN_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    MAY_HAVE_BEEN_WRITTEN_FIELD_NUMBER: _ClassVar[int]
    client_id: str
    written: Written
    error: _status_pb2.Status
    may_have_been_written: bool
    def __init__(self, client_id: _Optional[str] = ..., written: _Optional[_Union[Written, _Mapping]] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ..., may_have_been_written: _Optional[bool] = ...) -> None: ...

class Written(_message.Message):
    __slots__ = ("partition", "offset", "timestamp", "cursor")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    partition: int
    offset: int
    timestamp: _timestamp_pb2.Timestamp
    cursor: str
    def __init__(self, partition: _Optional[int] = ..., offset: _Optional[int] = ..., timestamp: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., cursor: _Optional[str] = ...) -> None: ...

class PublishStreamRequest(_message.Message):
    __slots__ = ("seq", "batch")
    SEQ_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    seq: int
    batch: PublishRequest
    def __init__(self, seq: _Optional[int] = ..., batch: _Optional[_Union[PublishRequest, _Mapping]] = ...) -> None: ...

class PublishStreamResponse(_message.Message):
    __slots__ = ("seq", "result", "error")
    SEQ_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    seq: int
    result: PublishResponse
    error: _status_pb2.Status
    def __init__(self, seq: _Optional[int] = ..., result: _Optional[_Union[PublishResponse, _Mapping]] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ...) -> None: ...

class Position(_message.Message):
    __slots__ = ("edge", "time", "cursor", "last")
    EDGE_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    edge: Edge
    time: _timestamp_pb2.Timestamp
    cursor: str
    last: int
    def __init__(self, edge: _Optional[_Union[Edge, str]] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., cursor: _Optional[str] = ..., last: _Optional[int] = ...) -> None: ...

class Credit(_message.Message):
    __slots__ = ("records", "bytes")
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    records: int
    bytes: int
    def __init__(self, records: _Optional[int] = ..., bytes: _Optional[int] = ...) -> None: ...

class Start(_message.Message):
    __slots__ = ("topics", "group", "instance", "mode", "until", "filter", "credit", "ack_lease", "on_gap")
    TOPICS_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    FROM_FIELD_NUMBER: _ClassVar[int]
    UNTIL_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    CREDIT_FIELD_NUMBER: _ClassVar[int]
    ACK_LEASE_FIELD_NUMBER: _ClassVar[int]
    ON_GAP_FIELD_NUMBER: _ClassVar[int]
    topics: _containers.RepeatedScalarFieldContainer[str]
    group: str
    instance: str
    mode: GroupMode
    until: Position
    filter: str
    credit: Credit
    ack_lease: _duration_pb2.Duration
    on_gap: OnGap
    def __init__(self, topics: _Optional[_Iterable[str]] = ..., group: _Optional[str] = ..., instance: _Optional[str] = ..., mode: _Optional[_Union[GroupMode, str]] = ..., until: _Optional[_Union[Position, _Mapping]] = ..., filter: _Optional[str] = ..., credit: _Optional[_Union[Credit, _Mapping]] = ..., ack_lease: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., on_gap: _Optional[_Union[OnGap, str]] = ..., **kwargs) -> None: ...

class SubscribeRequest(_message.Message):
    __slots__ = ("start", "credit", "acks", "renew_token")
    START_FIELD_NUMBER: _ClassVar[int]
    CREDIT_FIELD_NUMBER: _ClassVar[int]
    ACKS_FIELD_NUMBER: _ClassVar[int]
    RENEW_TOKEN_FIELD_NUMBER: _ClassVar[int]
    start: Start
    credit: Credit
    acks: AckSet
    renew_token: str
    def __init__(self, start: _Optional[_Union[Start, _Mapping]] = ..., credit: _Optional[_Union[Credit, _Mapping]] = ..., acks: _Optional[_Union[AckSet, _Mapping]] = ..., renew_token: _Optional[str] = ...) -> None: ...

class SubscribeResponse(_message.Message):
    __slots__ = ("ready", "events", "heartbeat", "gap", "ack_failures", "closing")
    READY_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    GAP_FIELD_NUMBER: _ClassVar[int]
    ACK_FAILURES_FIELD_NUMBER: _ClassVar[int]
    CLOSING_FIELD_NUMBER: _ClassVar[int]
    ready: Ready
    events: Events
    heartbeat: Heartbeat
    gap: Gap
    ack_failures: AckFailures
    closing: Closing
    def __init__(self, ready: _Optional[_Union[Ready, _Mapping]] = ..., events: _Optional[_Union[Events, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ..., gap: _Optional[_Union[Gap, _Mapping]] = ..., ack_failures: _Optional[_Union[AckFailures, _Mapping]] = ..., closing: _Optional[_Union[Closing, _Mapping]] = ...) -> None: ...

class Ready(_message.Message):
    __slots__ = ("session", "cursor", "ack_lease", "heartbeat")
    SESSION_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    ACK_LEASE_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    session: str
    cursor: str
    ack_lease: _duration_pb2.Duration
    heartbeat: _duration_pb2.Duration
    def __init__(self, session: _Optional[str] = ..., cursor: _Optional[str] = ..., ack_lease: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., heartbeat: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class Events(_message.Message):
    __slots__ = ("records", "cursor")
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    records: _containers.RepeatedCompositeFieldContainer[ReceivedRecord]
    cursor: str
    def __init__(self, records: _Optional[_Iterable[_Union[ReceivedRecord, _Mapping]]] = ..., cursor: _Optional[str] = ...) -> None: ...

class ReceivedRecord(_message.Message):
    __slots__ = ("id", "topic", "partition", "offset", "timestamp", "key", "value", "headers", "ack_id", "attempt", "error")
    ID_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    HEADERS_FIELD_NUMBER: _ClassVar[int]
    ACK_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    id: str
    topic: str
    partition: int
    offset: int
    timestamp: _timestamp_pb2.Timestamp
    key: bytes
    value: bytes
    headers: _containers.RepeatedCompositeFieldContainer[Header]
    ack_id: bytes
    attempt: int
    error: _status_pb2.Status
    def __init__(self, id: _Optional[str] = ..., topic: _Optional[str] = ..., partition: _Optional[int] = ..., offset: _Optional[int] = ..., timestamp: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., key: _Optional[bytes] = ..., value: _Optional[bytes] = ..., headers: _Optional[_Iterable[_Union[Header, _Mapping]]] = ..., ack_id: _Optional[bytes] = ..., attempt: _Optional[int] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ...) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ("cursor", "state", "lag_records", "lag_seconds", "token_expires")
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    LAG_RECORDS_FIELD_NUMBER: _ClassVar[int]
    LAG_SECONDS_FIELD_NUMBER: _ClassVar[int]
    TOKEN_EXPIRES_FIELD_NUMBER: _ClassVar[int]
    cursor: str
    state: str
    lag_records: int
    lag_seconds: float
    token_expires: _timestamp_pb2.Timestamp
    def __init__(self, cursor: _Optional[str] = ..., state: _Optional[str] = ..., lag_records: _Optional[int] = ..., lag_seconds: _Optional[float] = ..., token_expires: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Gap(_message.Message):
    __slots__ = ("topic", "partition", "to", "lost", "reason", "cursor")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    FROM_FIELD_NUMBER: _ClassVar[int]
    TO_FIELD_NUMBER: _ClassVar[int]
    LOST_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    topic: str
    partition: int
    to: int
    lost: int
    reason: str
    cursor: str
    def __init__(self, topic: _Optional[str] = ..., partition: _Optional[int] = ..., to: _Optional[int] = ..., lost: _Optional[int] = ..., reason: _Optional[str] = ..., cursor: _Optional[str] = ..., **kwargs) -> None: ...

class Closing(_message.Message):
    __slots__ = ("reason", "action", "retry_after", "cursor")
    REASON_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    reason: str
    action: Action
    retry_after: _duration_pb2.Duration
    cursor: str
    def __init__(self, reason: _Optional[str] = ..., action: _Optional[_Union[Action, str]] = ..., retry_after: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., cursor: _Optional[str] = ...) -> None: ...

class AckSet(_message.Message):
    __slots__ = ("ack", "nack", "extend", "reject")
    ACK_FIELD_NUMBER: _ClassVar[int]
    NACK_FIELD_NUMBER: _ClassVar[int]
    EXTEND_FIELD_NUMBER: _ClassVar[int]
    REJECT_FIELD_NUMBER: _ClassVar[int]
    ack: _containers.RepeatedScalarFieldContainer[bytes]
    nack: _containers.RepeatedCompositeFieldContainer[Nack]
    extend: _containers.RepeatedCompositeFieldContainer[Extend]
    reject: _containers.RepeatedCompositeFieldContainer[Reject]
    def __init__(self, ack: _Optional[_Iterable[bytes]] = ..., nack: _Optional[_Iterable[_Union[Nack, _Mapping]]] = ..., extend: _Optional[_Iterable[_Union[Extend, _Mapping]]] = ..., reject: _Optional[_Iterable[_Union[Reject, _Mapping]]] = ...) -> None: ...

class Nack(_message.Message):
    __slots__ = ("ack_id", "delay")
    ACK_ID_FIELD_NUMBER: _ClassVar[int]
    DELAY_FIELD_NUMBER: _ClassVar[int]
    ack_id: bytes
    delay: _duration_pb2.Duration
    def __init__(self, ack_id: _Optional[bytes] = ..., delay: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class Extend(_message.Message):
    __slots__ = ("ack_id", "lease")
    ACK_ID_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    ack_id: bytes
    lease: _duration_pb2.Duration
    def __init__(self, ack_id: _Optional[bytes] = ..., lease: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class Reject(_message.Message):
    __slots__ = ("ack_id", "reason")
    ACK_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ack_id: bytes
    reason: str
    def __init__(self, ack_id: _Optional[bytes] = ..., reason: _Optional[str] = ...) -> None: ...

class AckFailures(_message.Message):
    __slots__ = ("failed",)
    FAILED_FIELD_NUMBER: _ClassVar[int]
    failed: _containers.RepeatedCompositeFieldContainer[AckFailure]
    def __init__(self, failed: _Optional[_Iterable[_Union[AckFailure, _Mapping]]] = ...) -> None: ...

class AckFailure(_message.Message):
    __slots__ = ("ack_id", "status")
    ACK_ID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    ack_id: bytes
    status: _status_pb2.Status
    def __init__(self, ack_id: _Optional[bytes] = ..., status: _Optional[_Union[_status_pb2.Status, _Mapping]] = ...) -> None: ...

class ReceiveRequest(_message.Message):
    __slots__ = ("start", "max_records", "max_bytes", "wait")
    START_FIELD_NUMBER: _ClassVar[int]
    MAX_RECORDS_FIELD_NUMBER: _ClassVar[int]
    MAX_BYTES_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    start: Start
    max_records: int
    max_bytes: int
    wait: _duration_pb2.Duration
    def __init__(self, start: _Optional[_Union[Start, _Mapping]] = ..., max_records: _Optional[int] = ..., max_bytes: _Optional[int] = ..., wait: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class ReceiveResponse(_message.Message):
    __slots__ = ("records", "cursor", "gaps", "lag_records", "lag_seconds")
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    GAPS_FIELD_NUMBER: _ClassVar[int]
    LAG_RECORDS_FIELD_NUMBER: _ClassVar[int]
    LAG_SECONDS_FIELD_NUMBER: _ClassVar[int]
    records: _containers.RepeatedCompositeFieldContainer[ReceivedRecord]
    cursor: str
    gaps: _containers.RepeatedCompositeFieldContainer[Gap]
    lag_records: int
    lag_seconds: float
    def __init__(self, records: _Optional[_Iterable[_Union[ReceivedRecord, _Mapping]]] = ..., cursor: _Optional[str] = ..., gaps: _Optional[_Iterable[_Union[Gap, _Mapping]]] = ..., lag_records: _Optional[int] = ..., lag_seconds: _Optional[float] = ...) -> None: ...

class AckRequest(_message.Message):
    __slots__ = ("group", "acks")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    ACKS_FIELD_NUMBER: _ClassVar[int]
    group: str
    acks: AckSet
    def __init__(self, group: _Optional[str] = ..., acks: _Optional[_Union[AckSet, _Mapping]] = ...) -> None: ...

class AckResponse(_message.Message):
    __slots__ = ("failed",)
    FAILED_FIELD_NUMBER: _ClassVar[int]
    failed: _containers.RepeatedCompositeFieldContainer[AckFailure]
    def __init__(self, failed: _Optional[_Iterable[_Union[AckFailure, _Mapping]]] = ...) -> None: ...

class SeekRequest(_message.Message):
    __slots__ = ("group", "topics", "to")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    TOPICS_FIELD_NUMBER: _ClassVar[int]
    TO_FIELD_NUMBER: _ClassVar[int]
    group: str
    topics: _containers.RepeatedScalarFieldContainer[str]
    to: Position
    def __init__(self, group: _Optional[str] = ..., topics: _Optional[_Iterable[str]] = ..., to: _Optional[_Union[Position, _Mapping]] = ...) -> None: ...

class SeekResponse(_message.Message):
    __slots__ = ("before", "after")
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    before: str
    after: str
    def __init__(self, before: _Optional[str] = ..., after: _Optional[str] = ...) -> None: ...

class SendMessageRequest(_message.Message):
    __slots__ = ("topic", "key", "message", "headers", "idempotency_key")
    class HeadersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    HEADERS_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    topic: str
    key: str
    message: bytes
    headers: _containers.ScalarMap[str, str]
    idempotency_key: str
    def __init__(self, topic: _Optional[str] = ..., key: _Optional[str] = ..., message: _Optional[bytes] = ..., headers: _Optional[_Mapping[str, str]] = ..., idempotency_key: _Optional[str] = ...) -> None: ...

class SendMessageResponse(_message.Message):
    __slots__ = ("partition", "offset", "cursor")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    partition: int
    offset: int
    cursor: str
    def __init__(self, partition: _Optional[int] = ..., offset: _Optional[int] = ..., cursor: _Optional[str] = ...) -> None: ...

class ReceiveMessagesRequest(_message.Message):
    __slots__ = ("topic", "cursor", "max_messages")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    FROM_FIELD_NUMBER: _ClassVar[int]
    MAX_MESSAGES_FIELD_NUMBER: _ClassVar[int]
    topic: str
    cursor: str
    max_messages: int
    def __init__(self, topic: _Optional[str] = ..., cursor: _Optional[str] = ..., max_messages: _Optional[int] = ..., **kwargs) -> None: ...

class ReceiveMessagesResponse(_message.Message):
    __slots__ = ("id", "topic", "key", "message", "headers", "timestamp", "cursor", "gap")
    class HeadersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    HEADERS_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    GAP_FIELD_NUMBER: _ClassVar[int]
    id: str
    topic: str
    key: str
    message: bytes
    headers: _containers.ScalarMap[str, str]
    timestamp: _timestamp_pb2.Timestamp
    cursor: str
    gap: str
    def __init__(self, id: _Optional[str] = ..., topic: _Optional[str] = ..., key: _Optional[str] = ..., message: _Optional[bytes] = ..., headers: _Optional[_Mapping[str, str]] = ..., timestamp: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., cursor: _Optional[str] = ..., gap: _Optional[str] = ...) -> None: ...
