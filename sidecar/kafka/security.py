"""TLS and SASL settings in the form in which aiokafka's connections take them."""

import ssl
from typing import Any

from .errors import BrokerFault
from .settings import KafkaSettings

__all__ = ["connection_options"]


def connection_options(settings: KafkaSettings) -> dict[str, Any]:
    """Keyword arguments for ``aiokafka.conn.create_conn``.

    The certificates are read anew for each connection, so that rotated files are taken.

    Raises:
        BrokerFault: a certificate or key file cannot be used.
    """
    options: dict[str, Any] = {
        "client_id": settings.client_id,
        "request_timeout_ms": round(settings.request_timeout_s * 1000),
        "security_protocol": settings.security_protocol,
    }
    if settings.security_protocol.endswith("SSL"):
        options["ssl_context"] = _ssl_context(settings)
    if settings.security_protocol.startswith("SASL"):
        options["sasl_mechanism"] = settings.sasl_mechanism
        options["sasl_plain_username"] = settings.sasl_username
        options["sasl_plain_password"] = settings.sasl_password
    return options


def _ssl_context(settings: KafkaSettings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.ssl_ca)
    except (OSError, ssl.SSLError) as error:
        raise BrokerFault(f"ssl.ca.location: {settings.ssl_ca} cannot be used: {error}") from error
    if settings.ssl_certificate:
        try:
            context.load_cert_chain(
                settings.ssl_certificate,
                settings.ssl_key,
                settings.ssl_key_password or "",  # with None, OpenSSL would ask at the terminal
            )
        except (OSError, ssl.SSLError) as error:
            raise BrokerFault(
                f"ssl.certificate.location, ssl.key.location: {settings.ssl_certificate}, "
                f"{settings.ssl_key} cannot be used: {error}"
            ) from error
    return context
