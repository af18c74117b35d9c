"""Certificates for a TLS listener and its clients, made anew for each run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import trustme
from cryptography.hazmat.primitives import serialization

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Tls", "make_tls"]


@dataclass(frozen=True)
class Tls:
    """Files in PEM: what a client needs, and what a broker needs."""

    ca: Path
    client_cert: Path
    client_key: Path
    broker_keystore: Path
    """The broker's key and chain in one file, as `ssl.keystore.type=PEM` wants it."""


def make_tls(folder: Path, *names: str) -> Tls:
    """Make a CA, a server certificate for these names, and a client certificate."""
    folder.mkdir(parents=True, exist_ok=True)
    authority = trustme.CA()
    server = authority.issue_cert(*(names or ("localhost", "127.0.0.1")))
    client = authority.issue_cert("client@example.org", common_name="client")
    made = Tls(
        ca=folder / "ca.pem",
        client_cert=folder / "client.pem",
        client_key=folder / "client.key",
        broker_keystore=folder / "broker.pem",
    )
    authority.cert_pem.write_to_path(str(made.ca))
    made.client_cert.write_bytes(_chain(client))
    made.client_key.write_bytes(_pkcs8(client))
    made.broker_keystore.write_bytes(_pkcs8(server) + _chain(server))
    return made


def _chain(leaf: trustme.LeafCert) -> bytes:
    return b"".join(blob.bytes() for blob in leaf.cert_chain_pems)


def _pkcs8(leaf: trustme.LeafCert) -> bytes:
    # Kafka: "The private key must be in PKCS #8 format"; trustme writes the older one.
    key = serialization.load_pem_private_key(leaf.private_key_pem.bytes(), password=None)
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
