"""Persisted bytes: everything that is stored is encoded and decoded here, without I/O."""
