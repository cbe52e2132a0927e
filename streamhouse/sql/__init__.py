"""SQL over topics: DuckDB on the blocks of a log.

Importing this package costs nothing; DuckDB and nanoarrow are loaded by the first query.
"""
