from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Presence(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PRESENCE_UNSPECIFIED: _ClassVar[Presence]
    PRESENCE_FOUND: _ClassVar[Presence]
    PRESENCE_ABSENT: _ClassVar[Presence]
    PRESENCE_UNKNOWN: _ClassVar[Presence]

class View(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VIEW_UNSPECIFIED: _ClassVar[View]
    VIEW_KEY: _ClassVar[View]
    VIEW_META: _ClassVar[View]
    VIEW_RECORD: _ClassVar[View]
    VIEW_FULL: _ClassVar[View]

class Encoding(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ENCODING_UNSPECIFIED: _ClassVar[Encoding]
    ENCODING_RAW: _ClassVar[Encoding]
    ENCODING_JSON: _ClassVar[Encoding]

class TimestampType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TIMESTAMP_TYPE_UNSPECIFIED: _ClassVar[TimestampType]
    TIMESTAMP_TYPE_CREATE_TIME: _ClassVar[TimestampType]
    TIMESTAMP_TYPE_LOG_APPEND_TIME: _ClassVar[TimestampType]

class Delivery(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DELIVERY_UNSPECIFIED: _ClassVar[Delivery]
    DELIVERY_EVERY_CHANGE: _ClassVar[Delivery]
    DELIVERY_LATEST: _ClassVar[Delivery]

class DeletionCause(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DELETION_CAUSE_UNSPECIFIED: _ClassVar[DeletionCause]
    DELETION_CAUSE_TOMBSTONE: _ClassVar[DeletionCause]
    DELETION_CAUSE_LOG_START: _ClassVar[DeletionCause]
    DELETION_CAUSE_TABLE_RULE: _ClassVar[DeletionCause]
    DELETION_CAUSE_MISSED_TOMBSTONE: _ClassVar[DeletionCause]
PRESENCE_UNSPECIFIED: Presence
PRESENCE_FOUND: Presence
PRESENCE_ABSENT: Presence
PRESENCE_UNKNOWN: Presence
VIEW_UNSPECIFIED: View
VIEW_KEY: View
VIEW_META: View
VIEW_RECORD: View
VIEW_FULL: View
ENCODING_UNSPECIFIED: Encoding
ENCODING_RAW: Encoding
ENCODING_JSON: Encoding
TIMESTAMP_TYPE_UNSPECIFIED: TimestampType
TIMESTAMP_TYPE_CREATE_TIME: TimestampType
TIMESTAMP_TYPE_LOG_APPEND_TIME: TimestampType
DELIVERY_UNSPECIFIED: Delivery
DELIVERY_EVERY_CHANGE: Delivery
DELIVERY_LATEST: Delivery
DELETION_CAUSE_UNSPECIFIED: DeletionCause
DELETION_CAUSE_TOMBSTONE: DeletionCause
DELETION_CAUSE_LOG_START: DeletionCause
DELETION_CAUSE_TABLE_RULE: DeletionCause
DELETION_CAUSE_MISSED_TOMBSTONE: DeletionCause

class PartitionOffset(_message.Message):
    __slots__ = ("partition", "offset", "leader_epoch")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    LEADER_EPOCH_FIELD_NUMBER: _ClassVar[int]
    partition: int
    offset: int
    leader_epoch: int
    def __init__(self, partition: _Optional[int] = ..., offset: _Optional[int] = ..., leader_epoch: _Optional[int] = ...) -> None: ...

class Positions(_message.Message):
    __slots__ = ("next_offsets", "incarnation")
    NEXT_OFFSETS_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    next_offsets: _containers.RepeatedCompositeFieldContainer[PartitionOffset]
    incarnation: int
    def __init__(self, next_offsets: _Optional[_Iterable[_Union[PartitionOffset, _Mapping]]] = ..., incarnation: _Optional[int] = ...) -> None: ...

class State(_message.Message):
    __slots__ = ("staleness_ms", "incarnation", "generation", "positions", "revision")
    STALENESS_MS_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    POSITIONS_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    staleness_ms: int
    incarnation: int
    generation: int
    positions: Positions
    revision: int
    def __init__(self, staleness_ms: _Optional[int] = ..., incarnation: _Optional[int] = ..., generation: _Optional[int] = ..., positions: _Optional[_Union[Positions, _Mapping]] = ..., revision: _Optional[int] = ...) -> None: ...

class Freshness(_message.Message):
    __slots__ = ("min_offsets", "incarnation", "at_least", "max_staleness_ms", "wait_ms", "allow_partial")
    MIN_OFFSETS_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    AT_LEAST_FIELD_NUMBER: _ClassVar[int]
    MAX_STALENESS_MS_FIELD_NUMBER: _ClassVar[int]
    WAIT_MS_FIELD_NUMBER: _ClassVar[int]
    ALLOW_PARTIAL_FIELD_NUMBER: _ClassVar[int]
    min_offsets: _containers.RepeatedCompositeFieldContainer[PartitionOffset]
    incarnation: int
    at_least: Positions
    max_staleness_ms: int
    wait_ms: int
    allow_partial: bool
    def __init__(self, min_offsets: _Optional[_Iterable[_Union[PartitionOffset, _Mapping]]] = ..., incarnation: _Optional[int] = ..., at_least: _Optional[_Union[Positions, _Mapping]] = ..., max_staleness_ms: _Optional[int] = ..., wait_ms: _Optional[int] = ..., allow_partial: bool = ...) -> None: ...

class Header(_message.Message):
    __slots__ = ("key", "value")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    key: bytes
    value: bytes
    def __init__(self, key: _Optional[bytes] = ..., value: _Optional[bytes] = ...) -> None: ...

class Record(_message.Message):
    __slots__ = ("key", "value", "partition", "offset", "timestamp_ms", "timestamp_type", "headers", "decode_error", "raw_value")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_MS_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_TYPE_FIELD_NUMBER: _ClassVar[int]
    HEADERS_FIELD_NUMBER: _ClassVar[int]
    DECODE_ERROR_FIELD_NUMBER: _ClassVar[int]
    RAW_VALUE_FIELD_NUMBER: _ClassVar[int]
    key: bytes
    value: bytes
    partition: int
    offset: int
    timestamp_ms: int
    timestamp_type: TimestampType
    headers: _containers.RepeatedCompositeFieldContainer[Header]
    decode_error: str
    raw_value: bytes
    def __init__(self, key: _Optional[bytes] = ..., value: _Optional[bytes] = ..., partition: _Optional[int] = ..., offset: _Optional[int] = ..., timestamp_ms: _Optional[int] = ..., timestamp_type: _Optional[_Union[TimestampType, str]] = ..., headers: _Optional[_Iterable[_Union[Header, _Mapping]]] = ..., decode_error: _Optional[str] = ..., raw_value: _Optional[bytes] = ...) -> None: ...

class GetRequest(_message.Message):
    __slots__ = ("table", "key", "freshness", "view", "encoding", "include_positions")
    TABLE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    FRESHNESS_FIELD_NUMBER: _ClassVar[int]
    VIEW_FIELD_NUMBER: _ClassVar[int]
    ENCODING_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_POSITIONS_FIELD_NUMBER: _ClassVar[int]
    table: str
    key: bytes
    freshness: Freshness
    view: View
    encoding: Encoding
    include_positions: bool
    def __init__(self, table: _Optional[str] = ..., key: _Optional[bytes] = ..., freshness: _Optional[_Union[Freshness, _Mapping]] = ..., view: _Optional[_Union[View, str]] = ..., encoding: _Optional[_Union[Encoding, str]] = ..., include_positions: bool = ...) -> None: ...

class GetResponse(_message.Message):
    __slots__ = ("presence", "record", "state")
    PRESENCE_FIELD_NUMBER: _ClassVar[int]
    RECORD_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    presence: Presence
    record: Record
    state: State
    def __init__(self, presence: _Optional[_Union[Presence, str]] = ..., record: _Optional[_Union[Record, _Mapping]] = ..., state: _Optional[_Union[State, _Mapping]] = ...) -> None: ...

class MultiGetRequest(_message.Message):
    __slots__ = ("table", "keys", "freshness", "view", "encoding", "include_positions")
    TABLE_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    FRESHNESS_FIELD_NUMBER: _ClassVar[int]
    VIEW_FIELD_NUMBER: _ClassVar[int]
    ENCODING_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_POSITIONS_FIELD_NUMBER: _ClassVar[int]
    table: str
    keys: _containers.RepeatedScalarFieldContainer[bytes]
    freshness: Freshness
    view: View
    encoding: Encoding
    include_positions: bool
    def __init__(self, table: _Optional[str] = ..., keys: _Optional[_Iterable[bytes]] = ..., freshness: _Optional[_Union[Freshness, _Mapping]] = ..., view: _Optional[_Union[View, str]] = ..., encoding: _Optional[_Union[Encoding, str]] = ..., include_positions: bool = ...) -> None: ...

class LookupResult(_message.Message):
    __slots__ = ("presence", "record")
    PRESENCE_FIELD_NUMBER: _ClassVar[int]
    RECORD_FIELD_NUMBER: _ClassVar[int]
    presence: Presence
    record: Record
    def __init__(self, presence: _Optional[_Union[Presence, str]] = ..., record: _Optional[_Union[Record, _Mapping]] = ...) -> None: ...

class MultiGetResponse(_message.Message):
    __slots__ = ("results", "state")
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[LookupResult]
    state: State
    def __init__(self, results: _Optional[_Iterable[_Union[LookupResult, _Mapping]]] = ..., state: _Optional[_Union[State, _Mapping]] = ...) -> None: ...

class LookupRequest(_message.Message):
    __slots__ = ("id", "get", "multi_get")
    ID_FIELD_NUMBER: _ClassVar[int]
    GET_FIELD_NUMBER: _ClassVar[int]
    MULTI_GET_FIELD_NUMBER: _ClassVar[int]
    id: int
    get: GetRequest
    multi_get: MultiGetRequest
    def __init__(self, id: _Optional[int] = ..., get: _Optional[_Union[GetRequest, _Mapping]] = ..., multi_get: _Optional[_Union[MultiGetRequest, _Mapping]] = ...) -> None: ...

class LookupResponse(_message.Message):
    __slots__ = ("id", "get", "multi_get", "error")
    ID_FIELD_NUMBER: _ClassVar[int]
    GET_FIELD_NUMBER: _ClassVar[int]
    MULTI_GET_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    id: int
    get: GetResponse
    multi_get: MultiGetResponse
    error: LookupError
    def __init__(self, id: _Optional[int] = ..., get: _Optional[_Union[GetResponse, _Mapping]] = ..., multi_get: _Optional[_Union[MultiGetResponse, _Mapping]] = ..., error: _Optional[_Union[LookupError, _Mapping]] = ...) -> None: ...

class LookupError(_message.Message):
    __slots__ = ("code", "message", "reason", "metadata", "retry_after_ms")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_MS_FIELD_NUMBER: _ClassVar[int]
    code: int
    message: str
    reason: str
    metadata: _containers.ScalarMap[str, str]
    retry_after_ms: int
    def __init__(self, code: _Optional[int] = ..., message: _Optional[str] = ..., reason: _Optional[str] = ..., metadata: _Optional[_Mapping[str, str]] = ..., retry_after_ms: _Optional[int] = ...) -> None: ...

class KeyRange(_message.Message):
    __slots__ = ("start", "end")
    START_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    start: bytes
    end: bytes
    def __init__(self, start: _Optional[bytes] = ..., end: _Optional[bytes] = ...) -> None: ...

class IndexQuery(_message.Message):
    __slots__ = ("index", "equals", "prefix")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    EQUALS_FIELD_NUMBER: _ClassVar[int]
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    index: str
    equals: str
    prefix: str
    def __init__(self, index: _Optional[str] = ..., equals: _Optional[str] = ..., prefix: _Optional[str] = ...) -> None: ...

class Filter(_message.Message):
    __slots__ = ("key_prefix", "key_range", "index")
    KEY_PREFIX_FIELD_NUMBER: _ClassVar[int]
    KEY_RANGE_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    key_prefix: bytes
    key_range: KeyRange
    index: IndexQuery
    def __init__(self, key_prefix: _Optional[bytes] = ..., key_range: _Optional[_Union[KeyRange, _Mapping]] = ..., index: _Optional[_Union[IndexQuery, _Mapping]] = ...) -> None: ...

class ListRequest(_message.Message):
    __slots__ = ("table", "filter", "page_size", "page_token", "view", "encoding", "freshness", "include_positions")
    TABLE_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    VIEW_FIELD_NUMBER: _ClassVar[int]
    ENCODING_FIELD_NUMBER: _ClassVar[int]
    FRESHNESS_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_POSITIONS_FIELD_NUMBER: _ClassVar[int]
    table: str
    filter: Filter
    page_size: int
    page_token: str
    view: View
    encoding: Encoding
    freshness: Freshness
    include_positions: bool
    def __init__(self, table: _Optional[str] = ..., filter: _Optional[_Union[Filter, _Mapping]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., view: _Optional[_Union[View, str]] = ..., encoding: _Optional[_Union[Encoding, str]] = ..., freshness: _Optional[_Union[Freshness, _Mapping]] = ..., include_positions: bool = ...) -> None: ...

class ListResponse(_message.Message):
    __slots__ = ("records", "next_page_token", "state")
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    records: _containers.RepeatedCompositeFieldContainer[Record]
    next_page_token: str
    state: State
    def __init__(self, records: _Optional[_Iterable[_Union[Record, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., state: _Optional[_Union[State, _Mapping]] = ...) -> None: ...

class ScanRequest(_message.Message):
    __slots__ = ("table", "filter", "view", "encoding", "freshness", "include_positions")
    TABLE_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    VIEW_FIELD_NUMBER: _ClassVar[int]
    ENCODING_FIELD_NUMBER: _ClassVar[int]
    FRESHNESS_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_POSITIONS_FIELD_NUMBER: _ClassVar[int]
    table: str
    filter: Filter
    view: View
    encoding: Encoding
    freshness: Freshness
    include_positions: bool
    def __init__(self, table: _Optional[str] = ..., filter: _Optional[_Union[Filter, _Mapping]] = ..., view: _Optional[_Union[View, str]] = ..., encoding: _Optional[_Union[Encoding, str]] = ..., freshness: _Optional[_Union[Freshness, _Mapping]] = ..., include_positions: bool = ...) -> None: ...

class ScanResponse(_message.Message):
    __slots__ = ("records", "state")
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    records: _containers.RepeatedCompositeFieldContainer[Record]
    state: State
    def __init__(self, records: _Optional[_Iterable[_Union[Record, _Mapping]]] = ..., state: _Optional[_Union[State, _Mapping]] = ...) -> None: ...

class StartNow(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StartSnapshot(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class WatchRequest(_message.Message):
    __slots__ = ("table", "filter", "now", "snapshot", "resume_token", "after", "view", "encoding", "delivery", "progress_interval_ms", "snapshot_on_reset")
    TABLE_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    NOW_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    VIEW_FIELD_NUMBER: _ClassVar[int]
    ENCODING_FIELD_NUMBER: _ClassVar[int]
    DELIVERY_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_INTERVAL_MS_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_ON_RESET_FIELD_NUMBER: _ClassVar[int]
    table: str
    filter: Filter
    now: StartNow
    snapshot: StartSnapshot
    resume_token: str
    after: Positions
    view: View
    encoding: Encoding
    delivery: Delivery
    progress_interval_ms: int
    snapshot_on_reset: bool
    def __init__(self, table: _Optional[str] = ..., filter: _Optional[_Union[Filter, _Mapping]] = ..., now: _Optional[_Union[StartNow, _Mapping]] = ..., snapshot: _Optional[_Union[StartSnapshot, _Mapping]] = ..., resume_token: _Optional[str] = ..., after: _Optional[_Union[Positions, _Mapping]] = ..., view: _Optional[_Union[View, str]] = ..., encoding: _Optional[_Union[Encoding, str]] = ..., delivery: _Optional[_Union[Delivery, str]] = ..., progress_interval_ms: _Optional[int] = ..., snapshot_on_reset: bool = ...) -> None: ...

class Deletion(_message.Message):
    __slots__ = ("key", "partition", "offset", "timestamp_ms", "cause")
    KEY_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_MS_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    key: bytes
    partition: int
    offset: int
    timestamp_ms: int
    cause: DeletionCause
    def __init__(self, key: _Optional[bytes] = ..., partition: _Optional[int] = ..., offset: _Optional[int] = ..., timestamp_ms: _Optional[int] = ..., cause: _Optional[_Union[DeletionCause, str]] = ...) -> None: ...

class WatchProgress(_message.Message):
    __slots__ = ("positions", "staleness_ms", "revision")
    POSITIONS_FIELD_NUMBER: _ClassVar[int]
    STALENESS_MS_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    positions: Positions
    staleness_ms: int
    revision: int
    def __init__(self, positions: _Optional[_Union[Positions, _Mapping]] = ..., staleness_ms: _Optional[int] = ..., revision: _Optional[int] = ...) -> None: ...

class WatchReset(_message.Message):
    __slots__ = ("reason", "generation")
    REASON_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    reason: str
    generation: int
    def __init__(self, reason: _Optional[str] = ..., generation: _Optional[int] = ...) -> None: ...

class WatchEvent(_message.Message):
    __slots__ = ("upsert", "deletion", "snapshot_end", "progress", "reset", "cause")
    UPSERT_FIELD_NUMBER: _ClassVar[int]
    DELETION_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_END_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    RESET_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    upsert: Record
    deletion: Deletion
    snapshot_end: WatchProgress
    progress: WatchProgress
    reset: WatchReset
    cause: PartitionOffset
    def __init__(self, upsert: _Optional[_Union[Record, _Mapping]] = ..., deletion: _Optional[_Union[Deletion, _Mapping]] = ..., snapshot_end: _Optional[_Union[WatchProgress, _Mapping]] = ..., progress: _Optional[_Union[WatchProgress, _Mapping]] = ..., reset: _Optional[_Union[WatchReset, _Mapping]] = ..., cause: _Optional[_Union[PartitionOffset, _Mapping]] = ...) -> None: ...

class WatchResponse(_message.Message):
    __slots__ = ("events", "resume_token", "incarnation", "generation")
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[WatchEvent]
    resume_token: str
    incarnation: int
    generation: int
    def __init__(self, events: _Optional[_Iterable[_Union[WatchEvent, _Mapping]]] = ..., resume_token: _Optional[str] = ..., incarnation: _Optional[int] = ..., generation: _Optional[int] = ...) -> None: ...
