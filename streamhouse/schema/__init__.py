"""Typed topics: what the fields of a value are, how they become columns, and how that may change.

Importing this package costs nothing; DuckDB is loaded when types are given in its words, or DataFrames are
sent.
"""
