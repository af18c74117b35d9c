"""Reads topics; the only importer of aiokafka. Nothing here writes to Kafka."""
