"""What `doctor` finds: each check takes the facts and gives one finding, or None.

A check that lacks its facts gives none: what stands in its way is another check's
finding. `fail` means that the sidecar cannot serve the table as it is, or serves what is
not this topic; `warn` that it can, and that someone should know.

This module does no I/O.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from .sizing import Facts, size_of
from .status import advice
from .tables import STATES, staleness
from .text import bytes_size, count, duration

__all__ = ["CHECKS", "FAIL", "OK", "WARN", "Check", "Finding", "findings"]

OK, WARN, FAIL = "ok", "warn", "fail"
_UNKNOWN_TOPIC, _NOT_AUTHORIZED = 3, 29
_DENIED = {"TOPIC_AUTHORIZATION_FAILED", "CLUSTER_AUTHORIZATION_FAILED"}
_SHOWN = 5


class Finding(NamedTuple):
    """How bad it is, of what, what was found, and what to do (empty: nothing)."""

    level: str
    check: str
    found: str
    advice: str = ""


Check: TypeAlias = Callable[[Facts], Finding | None]


def findings(facts: Facts) -> list[Finding]:
    """Every check's finding, in order."""
    return [finding for check in CHECKS if (finding := check(facts)) is not None]


# The cluster


def _brokers(facts: Facts) -> Finding:
    known = facts.examined.brokers
    broken = [one for one in known if one.fault]
    if not broken:
        return Finding(OK, "brokers", f"{len(known)} of {len(known)} answer, Kafka 3.1 or newer")
    leaders = {-1} | {part.leader.node for part in facts.examined.partitions}
    level = FAIL if any(one.node in leaders or one.too_old for one in broken) else WARN
    mend = "check bootstrap.servers, what the brokers advertise, and the network between"
    if all(one.too_old for one in broken):
        mend = "upgrade them"
    return Finding(level, "brokers", _some([one.fault for one in broken]), mend)


def _topic(facts: Facts) -> Finding | None:
    examined, name = facts.examined, facts.examined.topic
    if examined.error_code is None:
        return None
    if examined.error_code == _UNKNOWN_TOPIC:
        create = (
            f"kafka-topics --bootstrap-server {facts.servers} --create --topic {name} "
            "--config cleanup.policy=compact"
        )
        return Finding(FAIL, "topic", f"{name} does not exist", f"check the name, or {create}")
    if examined.error_code == _NOT_AUTHORIZED:
        return Finding(FAIL, "topic", f"{name} may not be described", _acl(facts, "Read"))
    if examined.error_code:
        answer = f"the cluster answers error {examined.error_code} for {name}"
        return Finding(FAIL, "topic", answer, "look at the brokers' logs")
    parts = len(examined.partitions)
    return Finding(OK, "topic", f"{name}, id {examined.topic_id}, {parts} {_plural(parts)}")


def _leaders(facts: Facts) -> Finding | None:
    parts = facts.examined.partitions
    faults = [f"partition {part.partition}: {part.fault}" for part in parts if part.fault]
    if faults:
        return Finding(
            FAIL, "leaders", _some(faults), "look at the brokers that hold these partitions"
        )
    untold = [str(part.partition) for part in parts if part.high_watermark < 0]
    if untold:
        found = f"the ends of {len(untold)} {_plural(len(untold))} were not told in time"
        return Finding(FAIL, "leaders", found, "look at the brokers, or give it more --timeout")
    return Finding(OK, "leaders", "every partition has one") if parts else None


# The topic


def _cleanup(facts: Facts) -> Finding | None:
    if not facts.examined.partitions:
        return None
    policy = _policy(facts)
    if policy is None:
        return _not_told(facts, "cleanup.policy")
    compact = _set(facts, "cleanup.policy=compact")
    if policy == {"compact"}:
        return Finding(OK, "cleanup.policy", "compact")
    if "compact" in policy:
        return Finding(
            WARN,
            "cleanup.policy",
            "compact,delete: a key that is not written for retention.ms (or pushed out by "
            "retention.bytes) leaves the topic, and the next bootstrap, without a tombstone",
            f"if keys are to stay: {compact}",
        )
    return Finding(
        WARN,
        "cleanup.policy",
        f"{','.join(sorted(policy))}, not compact: every update is read at a bootstrap, and keys "
        "that are not written for retention.ms are lost",
        f"if it is to be a table: {compact}",
    )


def _retention(facts: Facts) -> Finding | None:
    name, policy = "delete.retention.ms", _policy(facts)
    if not facts.examined.partitions:
        return None
    kept_ms = _retention_ms(facts)
    if kept_ms is None:
        return _not_told(facts, name)
    if policy is not None and "compact" not in policy:
        return Finding(OK, name, f"{duration(kept_ms)}, of no matter: the topic is not compacted")
    size, longer = size_of(facts), _set(facts, f"{name}=86400000")
    if kept_ms == 0:
        found = "0: a tombstone may go before a bootstrap meets it, and its key come back"
        return Finding(WARN, name, found, longer)
    if size is None:
        found = f"{duration(kept_ms)}, not compared: how long a bootstrap takes is not known"
        return Finding(OK, name, found)
    takes = f"{'took' if size.measured else 'takes about'} {duration(size.bootstrap_ms)}"
    found = f"{duration(kept_ms)}, and a bootstrap {takes}"
    if size.bootstrap_ms * 2 > kept_ms:
        found += ": a slower one may miss tombstones, and deleted keys come back"
        return Finding(WARN, name, found, longer)
    return Finding(OK, name, found)


def _read(facts: Facts) -> Finding | None:
    sample = facts.examined.sample
    if sample is None:
        return None
    if sample.errors & _DENIED:
        return Finding(FAIL, "read", "this user may not read it", _acl(facts, "Read"))
    if sample.errors or sample.faults:
        found = _some([*(f"a fetch is answered {one}" for one in sorted(sample.errors)),
                       *sample.faults])  # fmt: skip
        return Finding(FAIL, "read", found, "run it again; if it stays, look at the brokers' logs")
    return Finding(OK, "read", f"allowed: {count(sample.records)} records fetched as a sample")


def _transactions(facts: Facts) -> Finding | None:
    parts = [part for part in facts.examined.partitions if part.high_watermark >= 0]
    if not parts:
        return None
    check = "transactions"
    if not facts.committed:
        return Finding(OK, check, "of no matter: isolation.level is read_uncommitted")
    held = [
        f"partition {part.partition} since offset {part.last_stable_offset}"
        for part in parts
        if part.last_stable_offset < part.high_watermark
    ]
    if not held:
        untold = len(facts.examined.partitions) - len(parts)
        found = f"none is open{f', as far as is known: {untold} not told' if untold else ''}"
        return Finding(OK, check, found)
    return Finding(
        WARN,
        check,
        f"open: {_some(held, ', ')}; what follows is not shown until they end, and a bootstrap "
        f"waits for them up to {duration(facts.open_transaction_wait_ms)}",
        "run it again; if one stays, kafka-transactions --bootstrap-server "
        f"{facts.servers} find-hanging --topic {facts.examined.topic}",
    )


def _size(facts: Facts) -> Finding | None:
    size = size_of(facts)
    if size is None:
        return None
    if size.measured:
        found = f"{count(size.entries)} entries hold {bytes_size(size.memory_bytes)}; the "
        return Finding(OK, "size", f"{found}bootstrap took {duration(size.bootstrap_ms)}")
    if not size.entries:
        return Finding(OK, "size", "the topic is empty")
    mean = round(size.payload_bytes / size.entries)
    return Finding(
        OK,
        "size",
        f"at most {count(size.entries)} records of about {mean} B: an estimated "
        f"{bytes_size(size.memory_bytes)} of memory, {duration(size.bootstrap_ms)} of bootstrap",
    )


# The running sidecar


def _state(facts: Facts) -> Finding | None:
    table = facts.table
    if table is None:
        return None
    state = STATES[table.state]
    if state == "LIVE":
        return Finding(OK, "state", state)
    left = f", about {duration(table.eta_ms)} left" if table.HasField("eta_ms") else ""
    level = WARN if state in {"STALE", "BOOTSTRAPPING"} else FAIL
    why = table.reason or "the sidecar does not say why"
    return Finding(level, "state", f"{state}: {why}{left}", "; ".join(advice(table)))


def _current(facts: Facts) -> Finding | None:
    table = facts.table
    if table is None or not table.bootstrap_ms:
        return None
    lag = sum(max(0, part.lag) for part in table.partitions)
    known = table.HasField("staleness_ms")
    found = f"staleness {staleness(table)}, {count(lag)} offsets to read"
    if known and STATES[table.state] == "LIVE":
        return Finding(OK, "current", found)
    return Finding(
        WARN, "current", found, f"see `sidecar describe {table.name}` for the partition behind"
    )


def _waits(facts: Facts) -> Finding | None:
    table = facts.table
    if table is None:
        return None
    waiting = [
        f"partition {part.partition}: {part.detail or 'it does not say for what'}"
        for part in table.partitions
        if part.wait
    ]
    if waiting:
        return Finding(WARN, "waits", _some(waiting), "; ".join(advice(table)))
    return Finding(OK, "waits", "no partition waits")


def _incarnation(facts: Facts) -> Finding | None:
    table, examined = facts.table, facts.examined
    if table is None or not table.incarnation or examined.error_code != 0:
        return None
    if table.incarnation == examined.incarnation:
        return Finding(OK, "incarnation", "the sidecar's table is of this topic")
    return Finding(
        FAIL,
        "incarnation",
        f"the sidecar's table is of another life of the topic (id {table.topic_id or 'unknown'})",
        "was it re-created, or is this another cluster? Restart the sidecar to read this one",
    )


CHECKS: tuple[Check, ...] = (
    _brokers,
    _topic,
    _leaders,
    _cleanup,
    _retention,
    _read,
    _transactions,
    _size,
    _state,
    _current,
    _waits,
    _incarnation,
)


# Words


def _policy(facts: Facts) -> set[str] | None:
    told = facts.examined.config.get("cleanup.policy", "")
    if not told and facts.table is not None:
        told = facts.table.cleanup_policy
    return {part.strip() for part in told.split(",")} if told else None


def _retention_ms(facts: Facts) -> int | None:
    told = facts.examined.config.get("delete.retention.ms", "")
    if told.isdigit():
        return int(told)
    table = facts.table
    if table is not None and table.HasField("delete_retention_ms"):
        return table.delete_retention_ms
    return None


def _not_told(facts: Facts, name: str) -> Finding:
    return Finding(
        WARN, name, "not known: DESCRIBE_CONFIGS is not granted", _acl(facts, "DescribeConfigs")
    )


def _acl(facts: Facts, operation: str) -> str:
    return (
        f"grant it: kafka-acls --bootstrap-server {facts.servers} --add --allow-principal "
        f"User:{facts.login or 'NAME'} --operation {operation} --topic {facts.examined.topic}"
    )


def _set(facts: Facts, setting: str) -> str:
    return (
        f"kafka-configs --bootstrap-server {facts.servers} --alter --entity-type topics "
        f"--entity-name {facts.examined.topic} --add-config {setting}"
    )


def _some(parts: list[str], between: str = "; ") -> str:
    """The first few, and how many more."""
    shown = list(dict.fromkeys(parts))
    more = f"{between}and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else ""
    return between.join(shown[:_SHOWN]) + more


def _plural(number: int) -> str:
    return "partition" if number == 1 else "partitions"
