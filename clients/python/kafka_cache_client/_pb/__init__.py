"""Stubs generated from proto/ by proto/generate: not to be edited."""
