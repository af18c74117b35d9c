"""Configuration, metrics, HTTP pages and logs: what an operator meets."""
