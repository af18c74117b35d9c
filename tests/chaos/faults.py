"""The faults: a seeded schedule, and what each one does.

A fault takes effect, lasts for a while, and is healed; then the run waits until the table
is known to be current again, so that each recovery can be told apart, and goes on. The
times are on record: `began`, `applied` (surely in effect), `healing` (about to be taken
back) and `healed`.

The schedule is dealt in rounds of all kinds in a new order each, so that a short run has
met most kinds and a long one all of them several times.
"""

from __future__ import annotations

import random
import signal
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from chaos.cluster import NODES
from chaos.history import now
from support.admin import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager

    from chaos.cluster import Site
    from chaos.history import Event, Recorder
    from chaos.writer import Writers
    from support.proxy import TcpProxy
    from support.serving import Serving

__all__ = ["FAULTS", "IDENTITY_FAULTS", "Fault", "Stage", "schedule", "strike"]

_MOST_PARTITIONS = 9
_SLOW_BYTES_PER_S = 4000


class Fault(NamedTuple):
    """What happens to whom (0: all), for how long, and how long it is quiet after that."""

    kind: str
    node: int
    seconds: float
    quiet: float
    number: int


@dataclass
class Stage:
    """What faults act upon; the sidecar and the writers may be others after one."""

    site: Site
    sidecar: Serving
    writers: Writers
    start_sidecar: Callable[[], Serving]
    start_writers: Callable[[], Writers]
    delete_retention_ms: int


def schedule(seed: int, kinds: Iterable[str]) -> Iterator[Fault]:
    """Deal faults without end, the same for the same seed and kinds."""
    chance = random.Random(f"{seed} faults")
    number = 0
    while True:
        dealt = sorted(kinds)
        chance.shuffle(dealt)
        for kind in dealt:
            node = chance.choice(NODES)
            if kind in _OF_THE_NETWORK and chance.random() < 0.5:
                node = 0
            yield Fault(kind, node, chance.uniform(2, 9), chance.uniform(1, 3), number)
            number += 1


def strike(stage: Stage, fault: Fault, record: Recorder) -> Event:
    """Let one fault come and go; gives what was recorded of it."""
    began = now()
    with _ACTS[fault.kind](stage, fault) as told:
        applied = now()
        time.sleep(fault.seconds)
        healing = now()
    event = {
        "op": "fault",
        "kind": fault.kind,
        "node": fault.node,
        "began": began,
        "applied": applied,
        "healing": healing,
        "healed": now(),
        "told": told,
    }
    record.note(**event)
    return event


# Brokers


@contextmanager
def _broker_kill(stage: Stage, fault: Fault) -> Iterator[Event]:
    stage.site.cluster.kill(fault.node)
    yield {}
    stage.site.cluster.start(fault.node)


@contextmanager
def _broker_pause(stage: Stage, fault: Fault) -> Iterator[Event]:
    cluster = stage.site.cluster
    cluster.pause(fault.node)
    _wait_stopped(cluster.pid(fault.node))
    try:
        yield {}
    finally:
        cluster.resume(fault.node)


@contextmanager
def _leader_move(stage: Stage, fault: Fault) -> Iterator[Event]:
    """Every partition gets a new leader, and for half of the faults another one soon after."""
    told: Event = {"leaders": stage.site.move_leaders(fault.number)}
    yield told
    if fault.number % 2:
        told["then"] = stage.site.move_leaders(fault.number + 1)


@contextmanager
def _grow(stage: Stage, fault: Fault) -> Iterator[Event]:
    """One more partition, up to a bound; beyond it the leaders are elected once more."""
    if stage.site.partitions < _MOST_PARTITIONS:
        yield {"partitions": stage.site.grow()}
    else:
        stage.site.elect_preferred()
        yield {"partitions": stage.site.partitions}


# The network between brokers and sidecar


@contextmanager
def _network(stage: Stage, fault: Fault, trouble: Callable[[TcpProxy], None]) -> Iterator[Event]:
    proxies = [stage.site.proxies[node] for node in NODES if fault.node in {0, node}]
    try:
        for proxy in proxies:
            trouble(proxy)
        yield {}
    finally:
        for proxy in proxies:
            proxy.heal()


def _network_cut(stage: Stage, fault: Fault) -> AbstractContextManager[Event]:
    return _network(stage, fault, lambda proxy: proxy.cut())


def _half_open(stage: Stage, fault: Fault) -> AbstractContextManager[Event]:
    return _network(stage, fault, lambda proxy: proxy.freeze())


def _slow(stage: Stage, fault: Fault) -> AbstractContextManager[Event]:
    return _network(stage, fault, lambda proxy: proxy.slow(_SLOW_BYTES_PER_S))


# The sidecar


@contextmanager
def _sidecar_pause(stage: Stage, fault: Fault) -> Iterator[Event]:
    stage.sidecar.signal(signal.SIGSTOP)
    _wait_stopped(stage.sidecar.pid)
    try:
        yield {}
    finally:
        stage.sidecar.signal(signal.SIGCONT)


@contextmanager
def _sidecar_restart(stage: Stage, fault: Fault) -> Iterator[Event]:
    """It is ended, in order or not, and starts again with an empty table."""
    told: Event = {}
    if fault.number % 2:
        told["exit"] = stage.sidecar.stop()
    else:
        stage.sidecar.signal(signal.SIGKILL)
        stage.sidecar.wait()
    yield told
    stage.sidecar = stage.start_sidecar()


# The topic


@contextmanager
def _recreate(stage: Stage, fault: Fault) -> Iterator[Event]:
    """The topic is deleted and, after a while in which nobody writes, created again."""
    stage.writers.stop()
    old = stage.site.topic_id
    stage.site.delete_topic()
    stage.site.look_for_topic(3)
    stage.site.create_topic(stage.delete_retention_ms)
    stage.writers = stage.start_writers()
    yield {"old": old, "new": stage.site.topic_id}


def _wait_stopped(pid: int) -> None:
    """A signal is sent before it works: wait until the kernel calls the process stopped."""
    stat = Path(f"/proc/{pid}/stat")
    wait_until(lambda: stat.read_text().rpartition(")")[2].split()[0] in "Tt", f"{pid} stopped", 10)


_ACTS: dict[str, Callable[[Stage, Fault], AbstractContextManager[Any]]] = {
    "broker_kill": _broker_kill,
    "broker_pause": _broker_pause,
    "sidecar_pause": _sidecar_pause,
    "leader_move": _leader_move,
    "network_cut": _network_cut,
    "half_open": _half_open,
    "slow": _slow,
    "grow": _grow,
    "sidecar_restart": _sidecar_restart,
    "recreate": _recreate,
}
_OF_THE_NETWORK = {"network_cut", "half_open", "slow"}

IDENTITY_FAULTS = frozenset({"recreate"})
"""Those that make the topic another one."""

FAULTS = frozenset(_ACTS) - IDENTITY_FAULTS
"""All others."""
