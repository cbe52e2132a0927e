"""A seeded simulator of the commit engine."""
