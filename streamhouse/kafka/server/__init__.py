"""Connections: bytes in, requests out to their handlers, responses back in order."""
