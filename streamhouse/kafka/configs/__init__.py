"""Kafka's configs: their names, types and defaults, and what they are here."""
