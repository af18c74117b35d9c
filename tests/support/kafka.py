"""Real Kafka brokers on this machine, one JVM each, in KRaft's combined mode.

Every broker has a PLAINTEXT listener, and on demand
- PROXIED: plain too, but it advertises another address (a TCP proxy's), so
  that a client which bootstraps through the proxy also stays on it;
- SSL: with the certificates given, client certificates are optional;
- SASL: SASL_PLAINTEXT with PLAIN and SCRAM-SHA-256, for the users given.
Brokers and controllers speak to each other over PLAINTEXT and CONTROLLER.

All ports are known before the start, and a node keeps them when it is
stopped and started. Brokers die with the test process, however that ends.
"""

from __future__ import annotations

import base64
import shutil
import signal
import socket
import tempfile
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from confluent_kafka import KafkaException
from support.admin import TopicAdmin, wait_until
from support.compaction import wait_compacted
from support.jars import KAFKA_VERSION, kafka_jars
from support.process import Child, free_port, run_bound
from support.proxy import TcpProxy

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from types import TracebackType

    from support.tls import Tls

__all__ = ["BrokerError", "KafkaCluster", "proxied_cluster"]

_PROTOCOLS = {
    "PLAINTEXT": "PLAINTEXT",
    "CONTROLLER": "PLAINTEXT",
    "PROXIED": "PLAINTEXT",
    "SSL": "SSL",
    "SASL": "SASL_PLAINTEXT",
}
_SETTINGS = {
    "auto.create.topics.enable": "true",
    "num.partitions": "1",
    "group.initial.rebalance.delay.ms": "0",
    "offsets.topic.num.partitions": "1",
    "transaction.state.log.num.partitions": "1",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "500",
    "log.cleaner.backoff.ms": "500",
    "log.cleaner.dedupe.buffer.size": "16777216",
    "log.retention.check.interval.ms": "500",
    "log.segment.delete.delay.ms": "500",
    "log.initial.task.delay.ms": "500",
    # A killed node may register again, and its partitions get leaders, only after this.
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "250",
    "controlled.shutdown.enable": "true",
}
_JAVA = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-Djava.awt.headless=true",
         "-Dorg.slf4j.simpleLogger.showDateTime=true",
         "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS"]  # fmt: skip
_PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule required"
_SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule required;"


class BrokerError(RuntimeError):
    """A broker did not start; the message ends with its log's tail."""


class KafkaCluster(TopicAdmin):
    """So many brokers, with node ids from 1; a context manager.

    `config` goes over the settings above. `advertised` gives a node the
    PROXIED listener and its advertised `host:port`. `sasl` maps users to passwords.
    """

    def __init__(
        self,
        brokers: int = 1,
        config: Mapping[str, Any] | None = None,
        advertised: Mapping[int, str] | None = None,
        *,
        tls: Tls | None = None,
        sasl: Mapping[str, str] | None = None,
        version: str = KAFKA_VERSION,
        heap: str = "512m",
    ) -> None:
        self._nodes = range(1, brokers + 1)
        self._config = dict(config or {})
        self._advertised = dict(advertised or {})
        self._security = (tls, dict(sasl or {}))
        self._version, self._heap = version, heap
        self._ports = {(node, name): free_port() for node in self._nodes for name in _PROTOCOLS}
        self._running: dict[int, Child] = {}
        self._dir = Path()

    def __repr__(self) -> str:
        return f"KafkaCluster({len(self._nodes)} brokers, {len(self._running)} started)"

    def __enter__(self) -> Self:
        jars = kafka_jars(self._version)
        self._dir = Path(tempfile.mkdtemp(prefix="kafka-"))
        self._java = ["java", f"-Xmx{self._heap}", *_JAVA, "-cp", f"{jars}/*"]
        try:
            with ThreadPoolExecutor(len(self._nodes)) as pool:
                list(pool.map(self._format, self._nodes))
            self._launch(self._nodes)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Killed, not stopped: the data goes with them, and an orderly stop takes seconds.
        for child in self._running.values():
            child.kill()
        self._running.clear()
        shutil.rmtree(self._dir, ignore_errors=True)

    # Where it is

    @property
    def bootstrap_servers(self) -> str:  # type: ignore[override]
        """The PLAINTEXT addresses of all nodes."""
        return self.bootstrap("PLAINTEXT")

    def bootstrap(self, listener: str) -> str:
        """Give the addresses of a listener: PLAINTEXT, SSL, SASL or PROXIED (as advertised)."""
        return ",".join(self._address(node, listener) for node in self._nodes)

    def port(self, node: int, listener: str = "PLAINTEXT") -> int:
        """Give the port that a node really listens on."""
        return self._ports[node, listener]

    def node_dir(self, node: int) -> Path:
        """Give the folder with a node's `server.properties`, `broker.log` and `data`."""
        return self._dir / f"node-{node}"

    def log_dir(self, node: int) -> Path:
        """Give the folder with a node's partitions, `<topic>-<partition>` each."""
        return self.node_dir(node) / "data"

    # What is done to it

    def pid(self, node: int) -> int:
        """Give the process id of a node that is running."""
        return self._running[node].pid

    def kill(self, node: int) -> None:
        """End a node with SIGKILL."""
        self._running.pop(node).kill()

    def stop(self, node: int) -> None:
        """End a node in order: it hands over its leaderships first."""
        self._running.pop(node).stop()

    def start(self, node: int) -> None:
        """Start a node again, at the same ports and on the same data."""
        self._launch([node])

    def pause(self, node: int) -> None:
        """Freeze a node: its connections stay open and nothing answers."""
        self._running[node].signal(signal.SIGSTOP)

    def resume(self, node: int) -> None:
        """Let a frozen node go on."""
        self._running[node].signal(signal.SIGCONT)

    def move(self, node: int) -> None:
        """Stop a node and start it at new ports; CONTROLLER and PROXIED keep theirs."""
        self.stop(node)
        for name in _PROTOCOLS:
            if name not in ("CONTROLLER", "PROXIED"):
                self._ports[node, name] = free_port()
        self._write_properties(node)
        self.start(node)

    def wait_compacted(self, topic: str, **options: Any) -> None:
        """Wait until the log cleaner has visibly run on every replica; see compaction.py."""
        folders = [self.log_dir(node) for node in self._running]
        wait_compacted(self.bootstrap_servers, folders, topic, **options)

    # How it is made

    def _launch(self, nodes: Iterable[int]) -> None:
        for node in nodes:
            folder = self.node_dir(node)
            command = [*self._java, "kafka.Kafka", str(folder / "server.properties")]
            self._running[node] = Child(command, folder / "broker.log")
        for node in nodes:
            wait_until(lambda node=node: self._answers(node), f"broker {node} answers", 90)

    def _answers(self, node: int) -> bool:
        child = self._running[node]
        if not child.running:
            raise BrokerError(f"broker {node} ended at its start:\n{child.log_tail()}")
        try:
            socket.create_connection(("127.0.0.1", self.port(node)), timeout=5).close()
            known = self.admin_client().list_topics(timeout=5).brokers
        except (OSError, KafkaException):
            return False
        return node in known

    def _format(self, node: int) -> None:
        self.node_dir(node).mkdir(parents=True)
        self._write_properties(node)
        properties = str(self.node_dir(node) / "server.properties")
        tool = [*self._java, "kafka.tools.StorageTool", "format", "-t", self._cluster_id]
        for user, password in self._security[1].items():
            tool += ["--add-scram", f"SCRAM-SHA-256=[name={user},password={password}]"]
        done = run_bound([*tool, "-c", properties])
        if done.returncode != 0:
            raise BrokerError(f"broker {node} could not be formatted:\n{done.stdout[-4000:]}")

    @property
    def _cluster_id(self) -> str:
        named = uuid.uuid5(uuid.NAMESPACE_URL, str(self._dir))
        return base64.urlsafe_b64encode(named.bytes).decode().rstrip("=").replace("-", "k")

    def _listeners(self, node: int) -> list[str]:
        tls, sasl = self._security
        wanted = {"PROXIED": node in self._advertised, "SSL": tls, "SASL": sasl}
        return [name for name in _PROTOCOLS if wanted.get(name, True)]

    def _address(self, node: int, listener: str) -> str:
        if listener == "PROXIED":
            return self._advertised[node]
        return f"{'localhost' if listener == 'SSL' else '127.0.0.1'}:{self.port(node, listener)}"

    def _write_properties(self, node: int) -> None:
        names = self._listeners(node)
        clients = [name for name in names if name != "CONTROLLER"]
        replicas = min(3, len(self._nodes))
        settings = {
            "process.roles": "broker,controller",
            "node.id": node,
            "log.dirs": self.log_dir(node),
            "listeners": ",".join(f"{n}://127.0.0.1:{self.port(node, n)}" for n in names),
            "advertised.listeners": ",".join(f"{n}://{self._address(node, n)}" for n in clients),
            "listener.security.protocol.map": ",".join(f"{n}:{_PROTOCOLS[n]}" for n in names),
            "inter.broker.listener.name": "PLAINTEXT",
            "controller.listener.names": "CONTROLLER",
            "controller.quorum.voters": ",".join(
                f"{n}@127.0.0.1:{self.port(n, 'CONTROLLER')}" for n in self._nodes
            ),
            "offsets.topic.replication.factor": replicas,
            "transaction.state.log.replication.factor": replicas,
            "transaction.state.log.min.isr": 1,
            **_SETTINGS,
            **self._security_settings(),
            **self._config,
        }
        lines = [f"{key}={value}\n" for key, value in settings.items()]
        (self.node_dir(node) / "server.properties").write_text("".join(lines))

    def _security_settings(self) -> dict[str, Any]:
        tls, sasl = self._security
        settings: dict[str, Any] = {}
        if tls is not None:
            settings |= {
                "ssl.keystore.type": "PEM",
                "ssl.keystore.location": tls.broker_keystore,
                "ssl.truststore.type": "PEM",
                "ssl.truststore.location": tls.ca,
                "ssl.client.auth": "requested",
            }
        if sasl:
            users = " ".join(f'user_{name}="{password}"' for name, password in sasl.items())
            settings |= {
                "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256",
                "listener.name.sasl.plain.sasl.jaas.config": f"{_PLAIN} {users};",
                "listener.name.sasl.scram-sha-256.sasl.jaas.config": _SCRAM,
            }
        return settings


@contextmanager
def proxied_cluster(
    brokers: int = 1, **options: Any
) -> Iterator[tuple[KafkaCluster, dict[int, TcpProxy]]]:
    """Start a cluster with a TCP proxy before each node's PROXIED listener."""
    ports = {node: free_port() for node in range(1, brokers + 1)}
    advertised = {node: f"127.0.0.1:{port}" for node, port in ports.items()}
    cluster = KafkaCluster(brokers, advertised=advertised, **options)
    with ExitStack() as stack:
        proxies = {
            node: stack.enter_context(
                TcpProxy("127.0.0.1", cluster.port(node, "PROXIED"), port=port)
            )
            for node, port in ports.items()
        }
        yield stack.enter_context(cluster), proxies
