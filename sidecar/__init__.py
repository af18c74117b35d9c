"""A Kubernetes sidecar that serves compacted Kafka topics as in-memory keyed tables."""

from importlib.metadata import version

__all__ = ["__version__"]

__version__ = version("kafka-cache-sidecar")
