"""How to reach a cluster: checked by the configuration, consumed here."""

from dataclasses import dataclass, field
from typing import Final

__all__ = ["BATCH_BYTES", "KafkaSettings"]

BATCH_BYTES: Final = 128 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class KafkaSettings:
    """Connection settings of one cluster, in librdkafka's terms.

    Attributes:
        bootstrap: (host, port) pairs, asked in turn until one answers.
        client_id: what brokers see in their logs and quotas.
        security_protocol: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL.
        sasl_mechanism: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512.
        ssl_ca: path of the PEM file that signs the brokers; None: the system's.
        ssl_certificate: path of our own certificate chain, for mutual TLS.
        ssl_key: path of its private key.
        isolation_level: read_committed or read_uncommitted.
        request_timeout_s: seconds until a broker that does not answer is given up.
        batch_bytes: how large a compressed batch may be when it is unpacked.
    """

    bootstrap: tuple[tuple[str, int], ...]
    client_id: str = "sidecar"
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str = "SCRAM-SHA-512"
    sasl_username: str | None = None
    sasl_password: str | None = field(default=None, repr=False)
    ssl_ca: str | None = None
    ssl_certificate: str | None = None
    ssl_key: str | None = None
    ssl_key_password: str | None = field(default=None, repr=False)
    isolation_level: str = "read_committed"
    request_timeout_s: float = 10.0
    batch_bytes: int = BATCH_BYTES
