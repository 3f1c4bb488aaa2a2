"""Starts and stops the real components (Kafka, S3 store, Iceberg REST catalog) without Docker."""

from tools.stack.stack import Stack, StackOptions

__all__ = ["Stack", "StackOptions"]
