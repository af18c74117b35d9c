from . import cache_pb2 as _cache_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TableState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TABLE_STATE_UNSPECIFIED: _ClassVar[TableState]
    TABLE_STATE_BOOTSTRAPPING: _ClassVar[TableState]
    TABLE_STATE_LIVE: _ClassVar[TableState]
    TABLE_STATE_STALE: _ClassVar[TableState]
    TABLE_STATE_FAILED: _ClassVar[TableState]
    TABLE_STATE_REPLACED: _ClassVar[TableState]

class PartitionWait(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PARTITION_WAIT_UNSPECIFIED: _ClassVar[PartitionWait]
    PARTITION_WAIT_LEADER: _ClassVar[PartitionWait]
    PARTITION_WAIT_BROKER: _ClassVar[PartitionWait]
    PARTITION_WAIT_OPEN_TRANSACTION: _ClassVar[PartitionWait]
    PARTITION_WAIT_BAD_BATCH: _ClassVar[PartitionWait]
    PARTITION_WAIT_QUOTA: _ClassVar[PartitionWait]
    PARTITION_WAIT_CONFIRMING: _ClassVar[PartitionWait]
    PARTITION_WAIT_AUTHORIZATION: _ClassVar[PartitionWait]
TABLE_STATE_UNSPECIFIED: TableState
TABLE_STATE_BOOTSTRAPPING: TableState
TABLE_STATE_LIVE: TableState
TABLE_STATE_STALE: TableState
TABLE_STATE_FAILED: TableState
TABLE_STATE_REPLACED: TableState
PARTITION_WAIT_UNSPECIFIED: PartitionWait
PARTITION_WAIT_LEADER: PartitionWait
PARTITION_WAIT_BROKER: PartitionWait
PARTITION_WAIT_OPEN_TRANSACTION: PartitionWait
PARTITION_WAIT_BAD_BATCH: PartitionWait
PARTITION_WAIT_QUOTA: PartitionWait
PARTITION_WAIT_CONFIRMING: PartitionWait
PARTITION_WAIT_AUTHORIZATION: PartitionWait

class PartitionInfo(_message.Message):
    __slots__ = ("partition", "leader", "leader_epoch", "log_start_offset", "position", "target", "high_watermark", "last_stable_offset", "lag", "staleness_ms", "caught_up", "wait", "detail", "waiting_ms")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    LEADER_FIELD_NUMBER: _ClassVar[int]
    LEADER_EPOCH_FIELD_NUMBER: _ClassVar[int]
    LOG_START_OFFSET_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    HIGH_WATERMARK_FIELD_NUMBER: _ClassVar[int]
    LAST_STABLE_OFFSET_FIELD_NUMBER: _ClassVar[int]
    LAG_FIELD_NUMBER: _ClassVar[int]
    STALENESS_MS_FIELD_NUMBER: _ClassVar[int]
    CAUGHT_UP_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    WAITING_MS_FIELD_NUMBER: _ClassVar[int]
    partition: int
    leader: int
    leader_epoch: int
    log_start_offset: int
    position: int
    target: int
    high_watermark: int
    last_stable_offset: int
    lag: int
    staleness_ms: int
    caught_up: bool
    wait: PartitionWait
    detail: str
    waiting_ms: int
    def __init__(self, partition: _Optional[int] = ..., leader: _Optional[int] = ..., leader_epoch: _Optional[int] = ..., log_start_offset: _Optional[int] = ..., position: _Optional[int] = ..., target: _Optional[int] = ..., high_watermark: _Optional[int] = ..., last_stable_offset: _Optional[int] = ..., lag: _Optional[int] = ..., staleness_ms: _Optional[int] = ..., caught_up: bool = ..., wait: _Optional[_Union[PartitionWait, str]] = ..., detail: _Optional[str] = ..., waiting_ms: _Optional[int] = ...) -> None: ...

class TableCounters(_message.Message):
    __slots__ = ("records", "tombstones", "null_keys", "undecodable", "cross_partition_keys", "unchanged", "expired", "fetched_bytes", "skipped_batches", "missed_tombstones", "turned_away", "aged")
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    TOMBSTONES_FIELD_NUMBER: _ClassVar[int]
    NULL_KEYS_FIELD_NUMBER: _ClassVar[int]
    UNDECODABLE_FIELD_NUMBER: _ClassVar[int]
    CROSS_PARTITION_KEYS_FIELD_NUMBER: _ClassVar[int]
    UNCHANGED_FIELD_NUMBER: _ClassVar[int]
    EXPIRED_FIELD_NUMBER: _ClassVar[int]
    FETCHED_BYTES_FIELD_NUMBER: _ClassVar[int]
    SKIPPED_BATCHES_FIELD_NUMBER: _ClassVar[int]
    MISSED_TOMBSTONES_FIELD_NUMBER: _ClassVar[int]
    TURNED_AWAY_FIELD_NUMBER: _ClassVar[int]
    AGED_FIELD_NUMBER: _ClassVar[int]
    records: int
    tombstones: int
    null_keys: int
    undecodable: int
    cross_partition_keys: int
    unchanged: int
    expired: int
    fetched_bytes: int
    skipped_batches: int
    missed_tombstones: int
    turned_away: int
    aged: int
    def __init__(self, records: _Optional[int] = ..., tombstones: _Optional[int] = ..., null_keys: _Optional[int] = ..., undecodable: _Optional[int] = ..., cross_partition_keys: _Optional[int] = ..., unchanged: _Optional[int] = ..., expired: _Optional[int] = ..., fetched_bytes: _Optional[int] = ..., skipped_batches: _Optional[int] = ..., missed_tombstones: _Optional[int] = ..., turned_away: _Optional[int] = ..., aged: _Optional[int] = ...) -> None: ...

class TableInfo(_message.Message):
    __slots__ = ("name", "topic", "state", "reason", "cluster_id", "topic_id", "incarnation", "generation", "entries", "payload_bytes", "memory_bytes", "partitions", "counters", "staleness_ms", "bootstrap_ms", "eta_ms", "next_partitions", "generations", "format", "indexes", "cleanup_policy", "delete_retention_ms", "definition_hash", "required", "dump")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_ID_FIELD_NUMBER: _ClassVar[int]
    TOPIC_ID_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_BYTES_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    COUNTERS_FIELD_NUMBER: _ClassVar[int]
    STALENESS_MS_FIELD_NUMBER: _ClassVar[int]
    BOOTSTRAP_MS_FIELD_NUMBER: _ClassVar[int]
    ETA_MS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    GENERATIONS_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    INDEXES_FIELD_NUMBER: _ClassVar[int]
    CLEANUP_POLICY_FIELD_NUMBER: _ClassVar[int]
    DELETE_RETENTION_MS_FIELD_NUMBER: _ClassVar[int]
    DEFINITION_HASH_FIELD_NUMBER: _ClassVar[int]
    REQUIRED_FIELD_NUMBER: _ClassVar[int]
    DUMP_FIELD_NUMBER: _ClassVar[int]
    name: str
    topic: str
    state: TableState
    reason: str
    cluster_id: str
    topic_id: str
    incarnation: int
    generation: int
    entries: int
    payload_bytes: int
    memory_bytes: int
    partitions: _containers.RepeatedCompositeFieldContainer[PartitionInfo]
    counters: TableCounters
    staleness_ms: int
    bootstrap_ms: int
    eta_ms: int
    next_partitions: _containers.RepeatedCompositeFieldContainer[PartitionInfo]
    generations: int
    format: str
    indexes: _containers.RepeatedScalarFieldContainer[str]
    cleanup_policy: str
    delete_retention_ms: int
    definition_hash: str
    required: bool
    dump: str
    def __init__(self, name: _Optional[str] = ..., topic: _Optional[str] = ..., state: _Optional[_Union[TableState, str]] = ..., reason: _Optional[str] = ..., cluster_id: _Optional[str] = ..., topic_id: _Optional[str] = ..., incarnation: _Optional[int] = ..., generation: _Optional[int] = ..., entries: _Optional[int] = ..., payload_bytes: _Optional[int] = ..., memory_bytes: _Optional[int] = ..., partitions: _Optional[_Iterable[_Union[PartitionInfo, _Mapping]]] = ..., counters: _Optional[_Union[TableCounters, _Mapping]] = ..., staleness_ms: _Optional[int] = ..., bootstrap_ms: _Optional[int] = ..., eta_ms: _Optional[int] = ..., next_partitions: _Optional[_Iterable[_Union[PartitionInfo, _Mapping]]] = ..., generations: _Optional[int] = ..., format: _Optional[str] = ..., indexes: _Optional[_Iterable[str]] = ..., cleanup_policy: _Optional[str] = ..., delete_retention_ms: _Optional[int] = ..., definition_hash: _Optional[str] = ..., required: bool = ..., dump: _Optional[str] = ...) -> None: ...

class GetServerInfoRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetServerInfoResponse(_message.Message):
    __slots__ = ("version", "features", "uptime_ms", "config_yaml", "max_keys", "max_page_size", "max_message_bytes", "resident_bytes", "config_fault", "registry_fault")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    UPTIME_MS_FIELD_NUMBER: _ClassVar[int]
    CONFIG_YAML_FIELD_NUMBER: _ClassVar[int]
    MAX_KEYS_FIELD_NUMBER: _ClassVar[int]
    MAX_PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    MAX_MESSAGE_BYTES_FIELD_NUMBER: _ClassVar[int]
    RESIDENT_BYTES_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FAULT_FIELD_NUMBER: _ClassVar[int]
    REGISTRY_FAULT_FIELD_NUMBER: _ClassVar[int]
    version: str
    features: _containers.RepeatedScalarFieldContainer[str]
    uptime_ms: int
    config_yaml: str
    max_keys: int
    max_page_size: int
    max_message_bytes: int
    resident_bytes: int
    config_fault: str
    registry_fault: str
    def __init__(self, version: _Optional[str] = ..., features: _Optional[_Iterable[str]] = ..., uptime_ms: _Optional[int] = ..., config_yaml: _Optional[str] = ..., max_keys: _Optional[int] = ..., max_page_size: _Optional[int] = ..., max_message_bytes: _Optional[int] = ..., resident_bytes: _Optional[int] = ..., config_fault: _Optional[str] = ..., registry_fault: _Optional[str] = ...) -> None: ...

class ListTablesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListTablesResponse(_message.Message):
    __slots__ = ("tables",)
    TABLES_FIELD_NUMBER: _ClassVar[int]
    tables: _containers.RepeatedCompositeFieldContainer[TableInfo]
    def __init__(self, tables: _Optional[_Iterable[_Union[TableInfo, _Mapping]]] = ...) -> None: ...

class GetTableRequest(_message.Message):
    __slots__ = ("table",)
    TABLE_FIELD_NUMBER: _ClassVar[int]
    table: str
    def __init__(self, table: _Optional[str] = ...) -> None: ...

class GetTableResponse(_message.Message):
    __slots__ = ("table",)
    TABLE_FIELD_NUMBER: _ClassVar[int]
    table: TableInfo
    def __init__(self, table: _Optional[_Union[TableInfo, _Mapping]] = ...) -> None: ...

class WatchTablesRequest(_message.Message):
    __slots__ = ("interval_ms",)
    INTERVAL_MS_FIELD_NUMBER: _ClassVar[int]
    interval_ms: int
    def __init__(self, interval_ms: _Optional[int] = ...) -> None: ...

class WatchTablesResponse(_message.Message):
    __slots__ = ("tables",)
    TABLES_FIELD_NUMBER: _ClassVar[int]
    tables: _containers.RepeatedCompositeFieldContainer[TableInfo]
    def __init__(self, tables: _Optional[_Iterable[_Union[TableInfo, _Mapping]]] = ...) -> None: ...

class WaitUntilRequest(_message.Message):
    __slots__ = ("table", "freshness")
    TABLE_FIELD_NUMBER: _ClassVar[int]
    FRESHNESS_FIELD_NUMBER: _ClassVar[int]
    table: str
    freshness: _cache_pb2.Freshness
    def __init__(self, table: _Optional[str] = ..., freshness: _Optional[_Union[_cache_pb2.Freshness, _Mapping]] = ...) -> None: ...

class WaitUntilResponse(_message.Message):
    __slots__ = ("tables",)
    TABLES_FIELD_NUMBER: _ClassVar[int]
    tables: _containers.RepeatedCompositeFieldContainer[TableInfo]
    def __init__(self, tables: _Optional[_Iterable[_Union[TableInfo, _Mapping]]] = ...) -> None: ...

class GetDigestRequest(_message.Message):
    __slots__ = ("table",)
    TABLE_FIELD_NUMBER: _ClassVar[int]
    table: str
    def __init__(self, table: _Optional[str] = ...) -> None: ...

class PartitionDigest(_message.Message):
    __slots__ = ("partition", "position", "entries", "digest", "log_start_offset")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    LOG_START_OFFSET_FIELD_NUMBER: _ClassVar[int]
    partition: int
    position: int
    entries: int
    digest: bytes
    log_start_offset: int
    def __init__(self, partition: _Optional[int] = ..., position: _Optional[int] = ..., entries: _Optional[int] = ..., digest: _Optional[bytes] = ..., log_start_offset: _Optional[int] = ...) -> None: ...

class GetDigestResponse(_message.Message):
    __slots__ = ("partitions", "incarnation", "definition_hash", "generation", "revision", "algorithm")
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    DEFINITION_HASH_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    ALGORITHM_FIELD_NUMBER: _ClassVar[int]
    partitions: _containers.RepeatedCompositeFieldContainer[PartitionDigest]
    incarnation: int
    definition_hash: str
    generation: int
    revision: int
    algorithm: str
    def __init__(self, partitions: _Optional[_Iterable[_Union[PartitionDigest, _Mapping]]] = ..., incarnation: _Optional[int] = ..., definition_hash: _Optional[str] = ..., generation: _Optional[int] = ..., revision: _Optional[int] = ..., algorithm: _Optional[str] = ...) -> None: ...
