"""What a fake broker answers when no script says otherwise."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.fake_broker import FakeBroker, FakeCluster
    from support.fake_topics import FakePartition, FakeTopic

__all__ = ["ANSWERS"]

NONE, OFFSET_OUT_OF_RANGE, UNKNOWN_TOPIC_OR_PARTITION, NOT_LEADER = 0, 1, 3, 6
FENCED_LEADER_EPOCH, UNKNOWN_LEADER_EPOCH, UNKNOWN_TOPIC_ID = 74, 75, 100
_NO_ID = uuid.UUID(int=0)
_UNSET_OPERATIONS = -(2**31)
Body = dict[str, Any]


def _api_versions(broker: FakeBroker, body: Body) -> Body:
    return {
        "api_keys": [
            {"api_key": key, "min_version": low, "max_version": high}
            for key, (low, high) in broker.versions.items()
        ]
    }


def _metadata(broker: FakeBroker, body: Body) -> Body:
    cluster = broker.cluster
    asked = body["topics"]
    if asked is None:
        topics = [_topic_metadata(topic) for topic in cluster.topics.values()]
    else:
        topics = [_asked_metadata(cluster, each) for each in asked]
    return {
        "brokers": [
            {"node_id": each.node, "host": "127.0.0.1", "port": each.port, "rack": None}
            for each in cluster.brokers.values()
            if each.listed
        ],
        "cluster_id": cluster.cluster_id,
        "controller_id": 1,
        "topics": topics,
        "cluster_authorized_operations": _UNSET_OPERATIONS,
    }


def _asked_metadata(cluster: FakeCluster, asked: Body) -> Body:
    topic = _find(cluster, asked)
    if topic is not None:
        return _topic_metadata(topic)
    by_id = asked.get("topic_id", _NO_ID) != _NO_ID
    return {
        "error_code": UNKNOWN_TOPIC_ID if by_id else UNKNOWN_TOPIC_OR_PARTITION,
        "name": asked["name"],
        "topic_id": asked.get("topic_id", _NO_ID),
        "topic_authorized_operations": _UNSET_OPERATIONS,
    }


def _topic_metadata(topic: FakeTopic) -> Body:
    return {
        "error_code": topic.metadata_error,
        "name": topic.name,
        "topic_id": topic.topic_id,
        "topic_authorized_operations": _UNSET_OPERATIONS,
        "partitions": [
            {
                "error_code": each.metadata_error,
                "partition": number,
                "leader_id": each.leader,
                "leader_epoch": each.leader_epoch,
                "replicas": each.replicas,
                "isr": each.replicas,
            }
            for number, each in enumerate(topic.partitions)
        ],
    }


def _find(cluster: FakeCluster, asked: Body) -> FakeTopic | None:
    wanted = asked.get("topic_id", _NO_ID)
    if wanted == _NO_ID:
        return cluster.topics.get(asked.get("name") or asked.get("topic") or "")
    return next((topic for topic in cluster.topics.values() if topic.topic_id == wanted), None)


def _locate(broker: FakeBroker, topic: Body, part: Body) -> tuple[int, FakePartition | None]:
    """Give the error that any leader's request would meet, and the partition."""
    found = _find(broker.cluster, topic)
    if found is None:
        return (UNKNOWN_TOPIC_ID if "topic_id" in topic else UNKNOWN_TOPIC_OR_PARTITION), None
    if part["partition"] >= len(found.partitions):
        return UNKNOWN_TOPIC_OR_PARTITION, None
    partition = found[part["partition"]]
    epoch = part.get("current_leader_epoch", -1)
    if partition.leader != broker.node:
        return NOT_LEADER, partition
    if epoch >= 0 and epoch != partition.leader_epoch:
        stale = epoch < partition.leader_epoch
        return (FENCED_LEADER_EPOCH if stale else UNKNOWN_LEADER_EPOCH), partition
    return NONE, partition


def _each(
    broker: FakeBroker, body: Body, answer: Callable[[int, FakePartition | None, Body], Body]
) -> list[Body]:
    named = ("name", "topic", "topic_id")
    return [
        {key: topic[key] for key in named if key in topic}
        | {
            "partitions": [
                {"partition": part["partition"]} | answer(*_locate(broker, topic, part), part)
                for part in topic["partitions"]
            ]
        }
        for topic in body["topics"]
    ]


def _list_offsets(broker: FakeBroker, body: Body) -> Body:
    def answer(error: int, partition: FakePartition | None, part: Body) -> Body:
        if error or partition is None:
            return {"error_code": error, "timestamp": -1, "offset": -1, "leader_epoch": -1}
        committed = body.get("isolation_level") == 1
        end = partition.last_stable_offset if committed else partition.high_watermark
        offset = {-1: end, -2: partition.log_start_offset}.get(part["timestamp"], -1)
        return {"timestamp": -1, "offset": offset, "leader_epoch": partition.leader_epoch}

    return {"topics": _each(broker, body, answer)}


def _fetch(broker: FakeBroker, body: Body) -> Body:
    committed = body["isolation_level"] == 1
    given = 0

    def answer(error: int, partition: FakePartition | None, part: Body) -> Body:
        nonlocal given
        limit = min(max(0, body["max_bytes"] - given), part["partition_max_bytes"])
        # "If the first record batch in the first non-empty partition of the fetch is larger
        # than this value, the record batch will still be returned."
        out = _fetched(error, partition, part, committed, limit, whole=not given)
        given += len(out["records"])
        return out

    return {"topics": _each(broker, body, answer)}


def _fetched(
    error: int,
    partition: FakePartition | None,
    part: Body,
    committed: bool,
    limit: int,
    *,
    whole: bool,
) -> Body:
    offset = part["fetch_offset"]
    failed = {"high_watermark": -1, "last_stable_offset": -1, "log_start_offset": -1,
              "preferred_read_replica": -1, "aborted_transactions": None,
              "records": b""}  # fmt: skip
    if error or partition is None:
        return {"error_code": error, **failed}
    common = {
        "error_code": NONE,
        "high_watermark": partition.high_watermark,
        "last_stable_offset": partition.last_stable_offset,
        "log_start_offset": partition.log_start_offset,
        "preferred_read_replica": -1,
        "aborted_transactions": None,
        "records": b"",
    }
    if offset < partition.log_start_offset or _from_the_future(partition, part):
        return {"error_code": OFFSET_OUT_OF_RANGE, **failed}
    diverging = _diverging(partition, part)
    if diverging is not None:
        return {**common, "diverging_epoch": diverging}
    if offset > partition.next_offset:
        return {"error_code": OFFSET_OUT_OF_RANGE, **failed}
    end = partition.last_stable_offset if committed else partition.high_watermark
    common["records"] = partition.between(offset, end, limit, whole=whole)
    if committed and common["records"]:
        common["aborted_transactions"] = [
            {"producer_id": producer, "first_offset": first}
            for producer, first, last in partition.aborted
            if last >= offset
        ]
    return common


def _from_the_future(partition: FakePartition, part: Body) -> bool:
    """Kafka: "Could not determine the end offset of the last fetched epoch"."""
    asked = part.get("last_fetched_epoch", -1)
    return asked >= 0 and partition.epoch_end(asked)[0] < 0


def _diverging(partition: FakePartition, part: Body) -> Body | None:
    """Kafka: the last fetched epoch's end here lies before the offset that is asked for."""
    asked = part.get("last_fetched_epoch", -1)
    if asked < 0:
        return None
    epoch, end = partition.epoch_end(asked)
    if epoch == asked and end >= part["fetch_offset"]:
        return None
    return {"epoch": epoch, "end_offset": end}


def _offset_for_leader_epoch(broker: FakeBroker, body: Body) -> Body:
    def answer(error: int, partition: FakePartition | None, part: Body) -> Body:
        if error or partition is None:
            return {"error_code": error, "leader_epoch": -1, "end_offset": -1}
        epoch, end = partition.epoch_end(part["leader_epoch"])
        return {"leader_epoch": epoch, "end_offset": end}

    return {"topics": _each(broker, body, answer)}


def _describe_configs(broker: FakeBroker, body: Body) -> Body:
    return {"results": [_described(broker, each) for each in body["resources"]]}


def _described(broker: FakeBroker, asked: Body) -> Body:
    topic = broker.cluster.topics.get(asked["resource_name"])
    same = {"resource_type": asked["resource_type"], "resource_name": asked["resource_name"]}
    if asked["resource_type"] != 2 or topic is None:
        return {"error_code": UNKNOWN_TOPIC_OR_PARTITION, "error_message": "no such topic", **same}
    keys = asked["configuration_keys"]
    return same | {
        "error_message": None,
        "configs": [
            {"name": name, "value": value, "config_source": 1, "documentation": None}
            for name, value in topic.config.items()
            if keys is None or name in keys
        ],
    }


ANSWERS: dict[str, Callable[[FakeBroker, Body], Body]] = {
    "api_versions": _api_versions,
    "metadata": _metadata,
    "list_offsets": _list_offsets,
    "fetch": _fetch,
    "offset_for_leader_epoch": _offset_for_leader_epoch,
    "describe_configs": _describe_configs,
}
